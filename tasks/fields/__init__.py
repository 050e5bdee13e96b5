"""Tasks whose data are a field on a grid."""
