"""Scalers: scikit-learn's, of data of any size.

>>> import numpy as np, equipoise as eq
>>> eq.preprocessing.StandardScaler().fit_transform(np.array([[1.0], [3.0]]))
array([[-1.],
       [ 1.]])
"""

from equipoise.preprocessing.maxabs import MaxAbsScaler
from equipoise.preprocessing.minmax import MinMaxScaler
from equipoise.preprocessing.normalizer import Normalizer
from equipoise.preprocessing.robust import RobustScaler
from equipoise.preprocessing.saved import load
from equipoise.preprocessing.standard import StandardScaler

__all__ = [
    "MaxAbsScaler",
    "MinMaxScaler",
    "Normalizer",
    "RobustScaler",
    "StandardScaler",
    "load",
]
