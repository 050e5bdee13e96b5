(window.charts ??= {})["figures/training_steps-sbibm_two_moons"] = [null];
