"""The accuracy of the forecast, on simulated movies of bleaching samples."""
