/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * Root of a machine who looks out for what comes in: until its input ends it
 * reads all of /proc again and again, and says once of each thing what should
 * not be there.
 *
 *   attacker CAPABILITIES
 *
 * CAPABILITIES is PID 1's bounding set in hexadecimal.  A file that is not to
 * be found in the machine under the same name is a host's.
 */
#include "../common.h"

#include <sys/stat.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUTURE_WRITE	0x0010	/* F_SEAL_FUTURE_WRITE */

struct attack {
	uint64_t	allowed;
	unsigned long	seen;		/* how often a new process was */
};

static void
found(const char *what, int pid, const char *detail)
{
	printf("%s of %d: %s\n", what, pid, detail);
	fflush(stdout);
}

/*
 * Says whether a file can be written to now, or when it is not executed any
 * more; one in memory may be sealed for ever.
 */
static bool
is_writable(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), seals = -1;

	if (fd != -1) {
		seals = fcntl(fd, F_GET_SEALS);
		close(fd);
	}
	if (seals != -1 && (seals & (F_SEAL_WRITE | FUTURE_WRITE)) != 0)
		return false;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd != -1)
		close(fd);
	return fd != -1 || errno == ETXTBSY;
}

/*
 * What a file is that a process has, and whether it can be written to.  It is
 * held first, since the next moment the process may have another.
 */
static void
look_at_file(int pid, const char *path, const char *what)
{
	char held[32], target[512] = "";
	struct stat st, own;
	int fd = open(path, O_PATH | O_CLOEXEC);
	bool writable;

	snprintf(held, sizeof(held), "/proc/self/fd/%d", fd);
	if (fd == -1)
		return;
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) ||
	    readlink(held, target, sizeof(target) - 1) == -1 ||
	    (stat(target, &own) == 0 && own.st_dev == st.st_dev &&
	    own.st_ino == st.st_ino)) {
		close(fd);
		return;
	}
	writable = is_writable(held);
	close(fd);
	if (strncmp(target, "/memfd:", 7) != 0)
		found(what, pid, target);
	if (writable)
		found("a foreign file to write to", pid, target);
}

/* The number that a file is called, or -1. */
static int
number_of(const char *name)
{
	uint64_t n;

	return number_parse(name, INT32_MAX, &n) == -1 ? -1 : (int)n;
}

static void
look_in_folder(int pid, const char *folder, const char *what)
{
	char path[600];
	const struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, folder);
	dir = opendir(path);
	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "/proc/%d/%s/%s", pid, folder,
		    entry->d_name);
		if (strcmp(folder, "fd") != 0)
			look_at_file(pid, path, what);
		else if (number_of(entry->d_name) > 2)
			found(what, pid, entry->d_name);
	}
	closedir(dir);
}

static void
look_at_capabilities(const struct attack *attack, int pid)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "Cap", 3) == 0 &&
		    (strtoull(line + 7, NULL, 16) & ~attack->allowed) != 0)
			found("capabilities", pid, line);
	fclose(file);
}

static void
look_at(struct attack *attack, int pid)
{
	char path[64];

	look_at_capabilities(attack, pid);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	look_at_file(pid, path, "a host's program");
	look_in_folder(pid, "map_files", "a host's mapped file");
	look_in_folder(pid, "fd", "a descriptor");
}

/* New processes are what counts: PID 1, and who was there before, are ours. */
static void
look_at_all(struct attack *attack, int last)
{
	const struct dirent *entry;
	DIR *proc = opendir("/proc");

	if (proc == NULL)
		err(1, "/proc");
	while ((entry = readdir(proc)) != NULL) {
		int pid = number_of(entry->d_name);

		if (pid > last) {
			attack->seen++;
			look_at(attack, pid);
		}
	}
	closedir(proc);
}

int
main(int argc, char **argv)
{
	struct attack attack = { .seen = 0 };
	char byte;

	if (argc != 2)
		errx(64, "attacker CAPABILITIES <what ends it");
	attack.allowed = strtoull(argv[1], NULL, 16);
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) == -1)
		err(1, "the input");
	puts("looking");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) == -1 && errno == EAGAIN)
		look_at_all(&attack, getpid());
	printf("saw %lu\n", attack.seen);
	return 0;
}
