"""A process that sends committed metrics to TensorBoard, W&B and MLflow."""
