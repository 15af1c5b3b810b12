"""The offline training package: everything that makes a bundle, and nothing that runs at the microscope."""
