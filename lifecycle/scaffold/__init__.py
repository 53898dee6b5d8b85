"""A user's own project: what ``lifecycle init`` writes, and how.

Templates stand in ``template/``, named ``*.tmpl`` so that no tool takes them for files of this project;
``$name``-style placeholders are filled, except in those that are copied as they are. The flows are those of
the installed package: nothing of ours is copied into a project.
"""
