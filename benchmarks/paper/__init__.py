"""The experiments of Milkert, Hyde and Laine (2025), reproduced and gone beyond."""
