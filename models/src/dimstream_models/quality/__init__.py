"""Quality metrics of a prediction, in plain numpy: the reference that the fused graph must equal.

Three independent measurements: the comparison with the adjacent prediction (:mod:`alignment`, and `ssim` of
:mod:`dimstream_models.ssim`), the raw frame itself (:mod:`structure`, :mod:`support_map`), and the two halves
of its photons (:mod:`split_photon_check`). `docs/flags.md` says what each can and cannot detect.
"""
