"""A Django project that is one application too: the admin site with sessions in SQLite, and a few views of files.

What it keeps lies in the folder ``DJANGO_SITE_FOLDER``: the database ``db.sqlite3``, and ``media``.
"""
