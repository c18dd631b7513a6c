"""Roles and blueprints to a plan of tasks; pure."""
