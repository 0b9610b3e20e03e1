"""Every SELECT of the platform.

Enter: names, patterns and ranges as the wire has them. Leave: Arrow tables and plain rows.
Promised: values travel as query parameters, never inside the SQL; of rows with one key only
the one that counts is seen; a fork has its ancestors' points up to where it forked.
"""
