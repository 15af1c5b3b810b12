"""Movies to watch: raw and denoised side by side as MP4. Needs the extra ``movie``."""
