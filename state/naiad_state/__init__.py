"""Shared state that may be lost: rate limits and cached answers in Redis.

Enter: keys and small values. Leave: the same, or nothing while Redis is away. Promised: no
caller ever fails or waits long because of it, and nothing here is the only copy.
"""
