(window.charts ??= {})["figures/gate_gain-sbibm_two_moons"] = [null];
