(window.charts ??= {})["figures/task-sbibm_bernoulli_glm"] = [{"$":156}];
