"""Tables as arrays: rows in canonical order, units, devices."""
