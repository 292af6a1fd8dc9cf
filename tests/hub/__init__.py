"""A Hugging Face Hub on loopback, for tests that drive the real client.

`server` is the part that tests use. `wire` speaks HTTP and breaks it on request, `repositories` keeps what was
committed, `api` answers for repositories, `lfs` and `xet` take large files by the two protocols of the Hub.
"""
