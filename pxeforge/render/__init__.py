"""Text made for one host: menus, kernel arguments, answers; and their linters."""
