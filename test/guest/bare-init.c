/* SPDX-License-Identifier: MIT */
/* bare-init - the least that a guest can boot: says so on the console */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int main(void)
{
	static const char text[] = "bare init\n";
	int fd;

	if (getpid() != 1)
		return 64;
	mknod("/console", S_IFCHR | 0600, makedev(5, 1));
	fd = open("/console", O_WRONLY);
	if (fd < 0 || write(fd, text, sizeof(text) - 1) < 0)
		return 74;
	for (;;)
		pause();
}
