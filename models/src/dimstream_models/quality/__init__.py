"""What speaks for a prediction, in plain numpy: the reference that the fused graph must equal.

Three independent measurements: the adjacent prediction (:mod:`alignment`, and `ssim` of
:mod:`dimstream_models.arithmetic`), the raw frame itself (:mod:`structure`, :mod:`support`), and the two
halves of its photons (:mod:`photons`). `docs/flags.md` says what each can and cannot see.
"""
