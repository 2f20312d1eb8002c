/* SPDX-License-Identifier: MIT */
/* reap.c - tells the owner of a process that it has ended */
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "agent/agent.h"

/* Tells the owner of a process that it has ended. */
static void child_ended(struct agent *a, pid_t pid, int status)
{
	struct agent_child *child;

	list_each(child, &a->children, item)
		if (child->pid == pid)
			break;
	if (!child)
		return; /* an orphan, which the first process has to reap */
	agent_forget(a, child);
	child->ended(child, status);
}

static void on_sigchld(struct iso_ev *ev, uint32_t events)
{
	struct agent *a = container_of(ev, struct agent, sigchld);
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	(void)events;
	if (read(ev->fd, &si, sizeof(si)) < 0)
		return;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		child_ended(a, pid, status);
}

void agent_watch(struct agent *a, struct agent_child *child)
{
	list_add(&a->children, &child->item);
}

void agent_forget(struct agent *a, struct agent_child *child)
{
	if (child->pid <= 0)
		return;
	list_remove(&a->children, &child->item);
	child->pid = 0;
}

int agent_watch_init(struct agent *a)
{
	static const int signals[] = { SIGCHLD };
	int r = loop_signalfd(signals, ARRAY_SIZE(signals));

	if (r < 0)
		return r;
	a->sigchld = (struct iso_ev){ .fd = r, .fn = on_sigchld };
	return loop_set(&a->loop, &a->sigchld, EPOLLIN);
}
