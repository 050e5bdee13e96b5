"""Tasks with closed-form or numerical likelihoods."""
