"""Reading ROS 1 bags of format 2.0, whole, unindexed or damaged."""
