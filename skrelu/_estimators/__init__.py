"""scikit-learn's side: parameters, tables, fitted attributes."""
