/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * Acts as a hostile root of a machine.  Until its input ends, it examines all
 * processes that enter the machine, and prints a line for each thing that
 * should not be there.
 *
 *   attacker CAPABILITIES          reads all of /proc again and again
 *   attacker CAPABILITIES SECRETS  seizes each new process, as a debugger does,
 *                                  examines it in the same way, searches its
 *                                  memory, and lets it go
 *   attacker hold PID              seizes that process, and keeps it
 *
 * CAPABILITIES is PID 1's bounding set in hexadecimal.  SECRETS is a file with
 * a line for each secret: its name, and its bytes as hexadecimal digits.  A
 * file that the machine does not have under the same name belongs to the host.
 * A process that runs such a program has not executed the command yet.
 *
 * What keeps it right: no process of the machine ever has a secret as plain
 * bytes in its memory.  So each secret that is found came in from outside.  The
 * file has it as digits, this program has its inverted bytes, and it inverts
 * what it searches, too.
 */
#include "../common.h"

#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUTURE_WRITE	0x0010	/* F_SEAL_FUTURE_WRITE */

#define SECRETS_MAX	8
#define SECRET_SIZE	128		/* bytes */
#define CHUNK_SIZE	1048576		/* bytes that are searched at once */
#define PAGE_SIZE_MIN	4096

#define AHEAD		8	/* PIDs to try; the next process has one */
#define ROUNDS_IDLE	200	/* then the last PID is read again */

struct secret {
	char		name[32];
	unsigned char	inverted[SECRET_SIZE];
	size_t		size;
};

struct attack {
	uint64_t	allowed;
	unsigned long	seen;		/* new processes that were examined */
	uint64_t	searched;	/* bytes of memory */
	struct secret	secrets[SECRETS_MAX];
	size_t		secret_count;
	unsigned char	chunk[SECRET_SIZE + CHUNK_SIZE];
};

/* A part of a file, from start up to end, or to the end of the file. */
struct part {
	const char	*name;		/* for the report */
	uint64_t	start;
	uint64_t	end;
};

static void
found(const char *what, int pid, const char *detail)
{
	printf("%s of %d: %s\n", what, pid, detail);
	fflush(stdout);
}

/*
 * True if a file can be written to now, or as soon as no process executes it.
 * A file in memory may be sealed against this for ever.
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
 * True if the machine does not have the open file.  Writes the name of the file
 * to target, of 512 bytes.
 */
static bool
is_foreign(int fd, char target[512])
{
	char held[32];
	struct stat st, own;
	ssize_t length;

	snprintf(held, sizeof(held), "/proc/self/fd/%d", fd);
	length = readlink(held, target, 511);
	if (length == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode))
		return false;
	target[length] = '\0';
	return stat(target, &own) == -1 || own.st_dev != st.st_dev ||
	    own.st_ino != st.st_ino;
}

/*
 * Reports a file of a process if it belongs to the host, and if it can be
 * written to.  Opens it first, because the process may have another file a
 * moment later.
 * Returns  true if the machine does not have it
 */
static bool
look_at_file(int pid, const char *path, const char *what)
{
	char held[32], target[512];
	int fd = open(path, O_PATH | O_CLOEXEC);
	bool foreign, writable;

	if (fd == -1)
		return false;
	snprintf(held, sizeof(held), "/proc/self/fd/%d", fd);
	foreign = is_foreign(fd, target);
	writable = foreign && is_writable(held);
	close(fd);
	if (foreign && strncmp(target, "/memfd:", 7) != 0)
		found(what, pid, target);
	if (writable)
		found("a foreign file to write to", pid, target);
	return foreign;
}

/* Returns the number that is the name of a file, or -1. */
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

/* True if the process has not executed a program of the machine yet. */
static bool
look_at(const struct attack *attack, int pid)
{
	char path[64];
	bool early;

	look_at_capabilities(attack, pid);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	early = look_at_file(pid, path, "a host's program");
	look_in_folder(pid, "map_files", "a host's mapped file");
	look_in_folder(pid, "fd", "a descriptor");
	return early;
}

/* Examines only new processes: the test itself started those up to last. */
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

/* ---- the memory of a process --------------------------------------- */

static void
search_chunk(const struct attack *attack, int pid, const char *where,
    size_t size)
{
	for (size_t i = 0; i < attack->secret_count; i++) {
		const struct secret *secret = &attack->secrets[i];
		char what[64];

		if (memmem(attack->chunk, size, secret->inverted,
		    secret->size) == NULL)
			continue;
		snprintf(what, sizeof(what), "the secret of %.31s",
		    secret->name);
		found(what, pid, where);
	}
}

/*
 * Searches a part of an open file.  The end of each chunk, as long as the
 * longest secret, stays in front of the next chunk.  So a secret that is in two
 * chunks is found, too.
 * Returns  how many bytes were searched
 */
static uint64_t
search_part(struct attack *attack, int pid, int fd,
    const struct part *part)
{
	uint64_t at = part->start;
	size_t kept = 0;

	while (at < part->end) {
		uint64_t left = part->end - at;
		ssize_t got = pread(fd, attack->chunk + kept,
		    left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE, (off_t)at);
		size_t size;

		if (got <= 0)
			break;
		for (ssize_t i = 0; i < got; i++)
			attack->chunk[kept + (size_t)i] ^= 0xff;
		size = kept + (size_t)got;
		search_chunk(attack, pid, part->name, size);
		at += (uint64_t)got;
		kept = size < SECRET_SIZE ? size : SECRET_SIZE;
		memmove(attack->chunk, attack->chunk + size - kept, kept);
	}
	return at - part->start;
}

static void
search_file(struct attack *attack, int pid, const char *name)
{
	const struct part whole = { name, 0, INT64_MAX };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return;
	search_part(attack, pid, fd, &whole);
	close(fd);
}

/* Searches the memory of one line of maps; pages after a file's end fail. */
static void
search_mapping(struct attack *attack, int pid, int memory, const char *line)
{
	char where[256] = "memory", *rest;
	struct part part = { .name = where };

	part.start = strtoull(line, &rest, 16);
	if (*rest != '-')
		return;
	part.end = strtoull(rest + 1, NULL, 16);
	if (part.end > INT64_MAX)
		return;		/* vsyscall, the kernel's own */
	sscanf(line, "%*s %*s %*s %*s %*s %255[^\n]", where);
	while (part.start < part.end) {
		uint64_t searched = search_part(attack, pid, memory, &part);

		attack->searched += searched;
		part.start += searched + PAGE_SIZE_MIN;
		part.start -= part.start % PAGE_SIZE_MIN;
	}
}

static void
search_memory(struct attack *attack, int pid)
{
	char path[64], line[1024];
	FILE *maps;
	int memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (memory != -1 && maps != NULL &&
	    fgets(line, sizeof(line), maps) != NULL)
		search_mapping(attack, pid, memory, line);
	if (maps != NULL)
		fclose(maps);
	if (memory != -1)
		close(memory);
}

static void
secret_add(struct attack *attack, const char *name, const char *digits)
{
	struct secret *secret = &attack->secrets[attack->secret_count++];

	snprintf(secret->name, sizeof(secret->name), "%s", name);
	for (; digits[0] != '\0' && digits[1] != '\0'; digits += 2) {
		const char pair[] = { digits[0], digits[1], '\0' };

		secret->inverted[secret->size++] =
		    (unsigned char)~strtoul(pair, NULL, 16);
	}
	if (secret->size < 4)
		errx(64, "secret %s is too short: give 4 bytes at least", name);
}

static void
secrets_read(struct attack *attack, const char *path)
{
	char name[32], digits[2 * SECRET_SIZE + 1];
	FILE *file = fopen(path, "re");

	if (file == NULL)
		err(1, "%s", path);
	while (attack->secret_count < SECRETS_MAX &&
	    fscanf(file, "%31s %256s", name, digits) == 2)
		secret_add(attack, name, digits);
	fclose(file);
}

/* ---- seizing processes --------------------------------------------- */

/*
 * Traces the process, and stops it.
 *   signal   a signal that was about to be delivered to it, or 0
 * Returns  false if there is no such process, or it has ended
 */
static bool
seize(int pid, int *signal)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == -1)
		return false;
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return false;
	*signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
	return true;
}

static bool
seize_and_search(struct attack *attack, int pid)
{
	int signal;

	if (!seize(pid, &signal))
		return false;
	attack->seen++;
	if (look_at(attack, pid)) {
		puts("seized one before its exec");
		fflush(stdout);		/* the test counts these */
	}
	search_file(attack, pid, "environ");
	search_file(attack, pid, "cmdline");
	search_file(attack, pid, "auxv");
	search_file(attack, pid, "maps");
	search_memory(attack, pid);
	ptrace(PTRACE_DETACH, pid, NULL, (intptr_t)signal);
	return true;
}

/* Returns the PID of the process of the machine that was made last. */
static int
last_number(void)
{
	char word[16] = "";
	FILE *file = fopen("/proc/loadavg", "re");

	if (file == NULL)
		err(1, "/proc/loadavg");
	if (fscanf(file, "%*s %*s %*s %*s %15s", word) != 1)
		errx(1, "cannot read the last PID from /proc/loadavg");
	fclose(file);
	return number_of(word);
}

/*
 * Tries the PIDs that the next processes get, because a list of processes
 * comes too late.  Skips a process that ended before it could be seized.
 */
static void
seize_next(struct attack *attack, int *last)
{
	for (int idle = 0; idle < ROUNDS_IDLE; idle++)
		for (int pid = *last + 1; pid <= *last + AHEAD; pid++)
			if (seize_and_search(attack, pid)) {
				*last = pid;
				return;
			}
	if (last_number() - 1 > *last)
		*last = last_number() - 1;
}

/* Traces a process, and lets it go on as if it were not traced. */
static void
hold(const char *word)
{
	int pid = number_of(word), status;

	if (pid == -1)
		errx(64, "invalid PID '%s'", word);
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == -1)
		err(1, "cannot seize the process %s", word);
	puts("holding");
	fflush(stdout);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, pid, NULL, (intptr_t)(status >> 16 == 0 ?
		    WSTOPSIG(status) : 0));
	exit(0);
}

static void
usage(void)
{
	errx(64, "usage: attacker CAPABILITIES [SECRETS] <INPUT\n"
	    "       attacker hold PID");
}

int
main(int argc, char **argv)
{
	struct attack attack = { .seen = 0 };
	int last = getpid();
	char byte;

	if (argc != 2 && argc != 3)
		usage();
	if (argc == 3 && strcmp(argv[1], "hold") == 0)
		hold(argv[2]);
	attack.allowed = strtoull(argv[1], NULL, 16);
	if (argc == 3)
		secrets_read(&attack, argv[2]);
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) == -1)
		err(1, "cannot make standard input non-blocking");
	puts("looking");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) == -1 && errno == EAGAIN)
		if (argc == 3)
			seize_next(&attack, &last);
		else
			look_at_all(&attack, last);
	if (argc == 3)
		printf("searched %llu bytes\n",
		    (unsigned long long)attack.searched);
	printf("saw %lu\n", attack.seen);
	return 0;
}
