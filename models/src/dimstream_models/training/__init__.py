"""The offline training package: everything that makes bundles. Nothing of it runs at the microscope."""
