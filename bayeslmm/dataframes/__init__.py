"""From a DataFrame to a posterior: formulas, tables and kinships of any kind in, results that read well out."""
