"""Movies for viewing: raw and denoised frames side by side as MP4. Needs the extra ``movie``."""
