(window.charts ??= {})["figures/score_error-sbibm_two_moons"] = [null];
