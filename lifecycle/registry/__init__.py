"""MLflow, where people compare and review: a run per training, a version per release, aliases that follow.

The only door to MLflow. What a run shows goes to ``runs``, what a version's folder holds to ``packaging``,
what a reviewer reads to ``description``, what MLflow's errors mean to ``connection``.
"""
