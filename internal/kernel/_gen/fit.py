"""Fits the polynomial of exp32 (exp.go): q in e^r = 1 + r + r^2 q(r), minimax in relative error for |r| <= ln(2)/2.

Lawson's algorithm: weighted least squares on Chebyshev points, the weights multiplied by the error until it is level. Needs numpy.
"""
import numpy as np

DEGREE = 4
BOUND = np.log(2) / 2 * 1.0005  # the reduction of the argument rounds, so r can pass ln(2)/2 a little

r = BOUND * np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
powers = np.stack([r ** (2 + i) for i in range(DEGREE + 1)], axis=1) / np.exp(r)[:, None]
target = (np.expm1(r) - r) / np.exp(r)
weights = np.ones_like(r)
for _ in range(3000):
    root = np.sqrt(weights)
    q = np.linalg.lstsq(powers * root[:, None], target * root, rcond=None)[0]
    error = np.abs(powers @ q - target)
    weights *= error / error.max() + 1e-12
    weights /= weights.sum()

rounded = q.astype(np.float32)
print("relative error", error.max(), "rounded to float32", np.abs(powers @ rounded.astype(float) - target).max())
for i, c in enumerate(rounded):
    print(f"expC{i + 2} = {float(c).hex()}")
