"""One file for each kind of question, from data to a saved model: ``python -m examples.NAME``.

None needs a server, a setting or a download: data ships with scikit-learn or is made here.
"""
