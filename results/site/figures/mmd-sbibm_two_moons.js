(window.charts ??= {})["figures/mmd-sbibm_two_moons"] = [null];
