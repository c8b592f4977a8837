import os

# Several runs share the cores here: with a thread for each core, those of one spin while the other's have to wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
