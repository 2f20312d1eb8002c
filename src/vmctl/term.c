/* SPDX-License-Identifier: MIT */
/* term.c - sets our own terminal */
#include "vmctl/term.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>

/* For atexit(), which takes no argument. A process has one terminal. */
static struct termios term_saved;
static bool term_is_raw;

void term_restore(void)
{
	if (term_is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &term_saved);
	term_is_raw = false;
}

void term_raw(void)
{
	static bool registered;
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &raw) < 0)
		return;
	if (!term_is_raw)
		term_saved = raw;
	if (!registered && atexit(term_restore) != 0)
		return;
	registered = true;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0)
		term_is_raw = true;
}

void term_size(uint16_t *ret_rows, uint16_t *ret_cols)
{
	struct winsize ws = { 0 };

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0)
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws);
	*ret_rows = ws.ws_row;
	*ret_cols = ws.ws_col;
}
