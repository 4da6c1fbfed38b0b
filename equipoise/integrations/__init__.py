"""Where equipoise meets other libraries; each module imports its library on first use."""
