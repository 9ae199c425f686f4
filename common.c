/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * The library of common.h.
 *
 * What keeps it right: facts about a process are gathered in one order.  First
 * it is opened by its number, then everything is read, and then its pidfd must
 * still be alive.  So what was read belongs to this process and not to a later
 * one with the same number.  From there on only the pidfd is used.
 *
 * Its sections, in the order of common.h:
 *
 *   text               names, numbers, times, signals, parts of a text
 *   options            the command line and --help
 *   time               deadlines
 *   files              descriptors, streams of words, directories
 *   memory             that children share
 *   helper             children, and programs that are run
 *   process            a process and its pidfd
 *   signals            of this process
 *   process: files     of /proc/PID
 *   namespaces         of a process, compared and joined
 *   host               /proc and the cgroups of systemd
 *   units and cgroups  the unit of a process; cgroups of v1 and v2
 *   nspawn             its command line; its settings file
 *   machined           what machinectl and systemctl say
 *   machine            signals, scope, cgroups and processes of a machine
 *   search             leader and supervisor; by unit, process and machinectl;
 *                      the nearest names; finding machines
 *   init               which one it is, and how it stops
 *   confinement        of a leader: limits, scheduling, label, filters
 *   entry              entering a machine: reading, the sealed copy, orders and
 *                      reports, the command, the intermediate (account,
 *                      terminal, environment, namespaces, capabilities, steps),
 *                      the monitor and its jobs, words of errors
 *   account            users and groups of a machine
 *   terminal           pseudo-terminals of a machine
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "common.h"

#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define NSPAWN	"systemd-nspawn"
#define SECOND	INT64_C(1000)	/* ms */

/* Values of the kernel's interface that older headers of a libc lack. */
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME	0x00000080
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP	0x02000000
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal	424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open	434
#endif
#ifndef SYS_clone3
#define SYS_clone3	435
#endif
#ifndef SYS_close_range
#define SYS_close_range	436
#endif
#ifndef SYS_openat2
#define SYS_openat2	437
#endif

/* ---- text ---------------------------------------------------------- */

#define NUMBER_SIZE	24	/* bytes: a sign, 20 digits and a NUL */
#define DIGITS		"0123456789"
#define BLANKS		" \t\n\r"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* True if the part of a path that has this length is word. */
static bool
part_is(const char *part, size_t length, const char *word)
{
	return strlen(word) == length && memcmp(part, word, length) == 0;
}

static bool
begins_with(const char *text, const char *word)
{
	return strncmp(text, word, strlen(word)) == 0;
}

/* True if a text ends with word and is longer than word. */
static bool
ends_with(const char *text, const char *word)
{
	size_t length = strlen(text), tail = strlen(word);

	return length > tail && strcmp(text + length - tail, word) == 0;
}

static void
text_copy(const char *text, char *copy, size_t size)
{
	size_t length = strnlen(text, size - 1);

	memcpy(copy, text, length);
	copy[length] = '\0';
}

static const char *
path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

bool
machine_name_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > MACHINE_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		bool first = i == 0 || name[i - 1] == '.';
		bool last = name[i + 1] == '.' || name[i + 1] == '\0';

		if (name[i] == '-' || name[i] == '.') {
			if (first || (last && name[i] == '-') ||
			    name[i + 1] == '\0')
				return false;
		} else if (!is_alnum(name[i]))
			return false;
	}
	return true;
}

/* Writes \xHH without a NUL.  Returns its length. */
static size_t
hex_escape(unsigned char byte, char *out)
{
	static const char digits[] = "0123456789abcdef";

	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[byte >> 4];
	out[3] = digits[byte & 15];
	return 4;
}

int
unit_name_escape(const char *text, char *escaped, size_t size)
{
	size_t used = 0;

	if (size < 4 * strlen(text) + 1) {
		errno = ENAMETOOLONG;
		return -1;
	}
	for (; *text != '\0'; text++) {
		if (is_alnum(*text) || strchr(":_.", *text) != NULL)
			escaped[used++] = *text;
		else
			used += hex_escape((unsigned char)*text,
			    escaped + used);
	}
	escaped[used] = '\0';
	return 0;
}

int
number_parse(const char *text, uint64_t max, uint64_t *number)
{
	uint64_t n = 0;

	if (*text == '\0') {
		errno = EINVAL;
		return -1;
	}
	for (; *text != '\0'; text++) {
		if (!is_digit(*text)) {
			errno = EINVAL;
			return -1;
		}
		uint64_t digit = (uint64_t)(*text - '0');

		if (digit > max || n > (max - digit) / 10) {
			errno = ERANGE;
			return -1;
		}
		n = n * 10 + digit;
	}
	*number = n;
	return 0;
}

/* Writes n at the end of digits.  Returns where it begins there. */
static const char *
number_format(uint64_t n, bool negative, char digits[NUMBER_SIZE])
{
	char *first = &digits[NUMBER_SIZE - 1];

	*first = '\0';
	do
		*--first = (char)('0' + n % 10);
	while ((n /= 10) != 0);
	if (negative)
		*--first = '-';
	return first;
}

/*
 * Takes the argument of one conversion.  *format points after its '%', and is
 * moved to what follows the conversion.
 *   most     how many bytes of the returned text to use at most
 */
static const char *
conversion_take(const char **format, va_list *args, char digits[NUMBER_SIZE],
    size_t *most)
{
	bool wide;
	int64_t n;

	*most = SIZE_MAX;
	if (**format == '.') {
		*most = (size_t)va_arg(*args, int);
		*format += 2;	/* ".*" */
	}
	wide = **format == 'z';
	*format += wide;
	switch (*(*format)++) {
	case 's':
		return va_arg(*args, const char *);
	case 'c':
		digits[0] = (char)va_arg(*args, int);
		digits[1] = '\0';
		return digits;
	case 'd':
		n = wide ? va_arg(*args, ssize_t) : va_arg(*args, int);
		return number_format(n < 0 ? -(uint64_t)n : (uint64_t)n, n < 0,
		    digits);
	case 'u':
		return number_format(wide ? va_arg(*args, size_t) :
		    va_arg(*args, unsigned), false, digits);
	default:
		return "%";
	}
}

__attribute__((format(printf, 3, 0)))
static size_t
text_vformat(char *text, size_t size, const char *format, va_list args)
{
	size_t used = 0, length, most = SIZE_MAX;
	char digits[NUMBER_SIZE];
	va_list copy;

	va_copy(copy, args);
	while (*format != '\0') {
		const char *part = format;

		most = strcspn(format, "%");
		format += most;
		if (most == 0) {
			format++;
			part = conversion_take(&format, &copy, digits, &most);
		}
		length = strnlen(part, most);
		if (length > size - 1 - used)
			length = size - 1 - used;
		memcpy(text + used, part, length);
		used += length;
	}
	va_end(copy);
	text[used] = '\0';
	return used;
}

size_t
text_format(char *text, size_t size, const char *format, ...)
{
	va_list args;
	size_t length;

	va_start(args, format);
	length = text_vformat(text, size, format, args);
	va_end(args);
	return length;
}

size_t
text_line(char *line, size_t size, const char *program, const char *format,
    va_list args, const char *reason)
{
	size_t room = size - 1, used;	/* leaves a byte for the '\n' */

	used = text_format(line, room, "%s: ", program);
	used += text_vformat(line + used, room - used, format, args);
	if (reason != NULL)
		used += text_format(line + used, room - used, ": %s", reason);
	line[used++] = '\n';
	line[used] = '\0';
	return used;
}

#define MICROSECONDS	INT64_C(1000000)	/* of a second */
#define TIME_MAX	(INT64_C(1000000000) * SECOND)

/* The units of systemd.time(7), a longer one before one that begins like it. */
static const struct {
	char	name[8];
	int64_t	length;		/* microseconds */
} time_units[] = {
	{ "seconds", MICROSECONDS }, { "second", MICROSECONDS },
	{ "sec", MICROSECONDS }, { "s", MICROSECONDS },
	{ "minutes", 60 * MICROSECONDS }, { "minute", 60 * MICROSECONDS },
	{ "min", 60 * MICROSECONDS }, { "months", 2629800 * MICROSECONDS },
	{ "month", 2629800 * MICROSECONDS }, { "M", 2629800 * MICROSECONDS },
	{ "msec", 1000 }, { "ms", 1000 }, { "m", 60 * MICROSECONDS },
	{ "hours", 3600 * MICROSECONDS }, { "hour", 3600 * MICROSECONDS },
	{ "hr", 3600 * MICROSECONDS }, { "h", 3600 * MICROSECONDS },
	{ "days", 86400 * MICROSECONDS }, { "day", 86400 * MICROSECONDS },
	{ "d", 86400 * MICROSECONDS }, { "weeks", 604800 * MICROSECONDS },
	{ "week", 604800 * MICROSECONDS }, { "w", 604800 * MICROSECONDS },
	{ "years", 31557600 * MICROSECONDS },
	{ "year", 31557600 * MICROSECONDS }, { "y", 31557600 * MICROSECONDS },
	{ "usec", 1 }, { "us", 1 },
	{ "\xc2\xb5s", 1 }, { "\xce\xbcs", 1 },	/* two forms of mu */
};

#define TIME_UNITS	(sizeof(time_units) / sizeof(time_units[0]))

/*
 * Finds the unit that text begins with; seconds if there is none.
 * Returns  what follows the unit
 */
static const char *
time_unit(const char *text, int64_t *unit)
{
	*unit = MICROSECONDS;
	for (size_t i = 0; i < TIME_UNITS; i++) {
		size_t length = strlen(time_units[i].name);

		if (strncmp(text, time_units[i].name, length) == 0) {
			*unit = time_units[i].length;
			return text + length;
		}
	}
	return text;
}

/* Reads a number with its unit, in microseconds, and moves *text after it. */
static int
time_part(const char **text, int64_t *us)
{
	char whole[24] = "0";
	const char *number = *text + (**text == '+');
	size_t digits = strspn(number, DIGITS);
	bool dot = number[digits] == '.';
	const char *fraction = number + digits + dot;
	size_t decimals = dot ? strspn(fraction, DIGITS) : 0;
	const char *end = fraction + decimals, *next;
	int64_t unit;
	uint64_t n;

	next = time_unit(end + strspn(end, BLANKS), &unit);
	if (dot ? decimals == 0 : digits == 0) {
		errno = EINVAL;
		return -1;
	}
	if (next == end && *end != '\0') {
		errno = EINVAL;
		return -1;
	}
	if (digits >= sizeof(whole)) {
		errno = ERANGE;
		return -1;
	}
	if (digits > 0)
		text_format(whole, sizeof(whole), "%.*s", (int)digits, number);
	if (number_parse(whole, (uint64_t)(TIME_MAX * 1000 / unit), &n) == -1)
		return -1;
	*us = (int64_t)n * unit;
	for (size_t i = 0; i < decimals; i++)
		*us += (unit /= 10) * (fraction[i] - '0');
	*text = next;
	return 0;
}

int
time_parse(const char *text, int64_t *ms)
{
	static const char infinity[] = "infinity";
	int64_t sum = 0, part;

	text += strspn(text, BLANKS);
	errno = EINVAL;
	if (*text == '\0')
		return -1;
	if (strncmp(text, infinity, sizeof(infinity) - 1) == 0) {
		text += sizeof(infinity) - 1;
		if (text[strspn(text, BLANKS)] != '\0')
			return -1;
		*ms = INT64_MAX;
		return 0;
	}
	for (; *text != '\0'; text += strspn(text, BLANKS)) {
		if (time_part(&text, &part) == -1)
			return -1;
		sum += part;
		if (sum > TIME_MAX * 1000) {
			errno = ERANGE;
			return -1;
		}
	}
	*ms = (sum + 999) / 1000;
	return 0;
}

/* Reads what follows RTMIN or RTMAX: nothing, or the sign and a number. */
static int
signal_offset(const char *text, char sign)
{
	uint64_t offset;

	if (*text == '\0')
		return 0;
	if (*text != sign || number_parse(text + 1,
	    SIGNAL_RTMAX - SIGNAL_RTMIN, &offset) == -1)
		return -1;
	return (int)offset;
}

/* An array: pointers would have to be relocated at each start. */
static const char signal_names[][8] = {
	[SIGHUP] = "HUP", [SIGINT] = "INT", [SIGQUIT] = "QUIT",
	[SIGILL] = "ILL", [SIGTRAP] = "TRAP", [SIGABRT] = "ABRT",
	[SIGBUS] = "BUS", [SIGFPE] = "FPE", [SIGKILL] = "KILL",
	[SIGUSR1] = "USR1", [SIGSEGV] = "SEGV", [SIGUSR2] = "USR2",
	[SIGPIPE] = "PIPE", [SIGALRM] = "ALRM", [SIGTERM] = "TERM",
#ifdef SIGSTKFLT
	[SIGSTKFLT] = "STKFLT",
#endif
	[SIGCHLD] = "CHLD", [SIGCONT] = "CONT", [SIGSTOP] = "STOP",
	[SIGTSTP] = "TSTP", [SIGTTIN] = "TTIN", [SIGTTOU] = "TTOU",
	[SIGURG] = "URG", [SIGXCPU] = "XCPU", [SIGXFSZ] = "XFSZ",
	[SIGVTALRM] = "VTALRM", [SIGPROF] = "PROF", [SIGWINCH] = "WINCH",
	[SIGIO] = "IO", [SIGPWR] = "PWR", [SIGSYS] = "SYS",
};

#define SIGNAL_NAMES	(sizeof(signal_names) / sizeof(signal_names[0]))

int
signal_number(const char *text)
{
	uint64_t number;
	int offset;

	if (number_parse(text, SIGNAL_RTMAX, &number) == 0)
		return number == 0 ? -1 : (int)number;
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	if (strncasecmp(text, "RTMIN", 5) == 0) {
		offset = signal_offset(text + 5, '+');
		return offset == -1 ? -1 : SIGNAL_RTMIN + offset;
	}
	if (strncasecmp(text, "RTMAX", 5) == 0) {
		offset = signal_offset(text + 5, '-');
		return offset == -1 ? -1 : SIGNAL_RTMAX - offset;
	}
	for (size_t i = 1; i < SIGNAL_NAMES; i++)
		if (signal_names[i][0] != '\0' &&
		    strcasecmp(text, signal_names[i]) == 0)
			return (int)i;
	return -1;
}

const char *
signal_name(int signal, char name[SIGNAL_NAME_SIZE])
{
	if (signal > 0 && (size_t)signal < SIGNAL_NAMES &&
	    signal_names[signal][0] != '\0')
		text_format(name, SIGNAL_NAME_SIZE, "SIG%s",
		    signal_names[signal]);
	else if (signal == SIGNAL_RTMIN)
		text_format(name, SIGNAL_NAME_SIZE, "SIGRTMIN");
	else if (signal > SIGNAL_RTMIN && signal <= SIGNAL_RTMAX)
		text_format(name, SIGNAL_NAME_SIZE, "SIGRTMIN+%d",
		    signal - SIGNAL_RTMIN);
	else
		text_format(name, SIGNAL_NAME_SIZE, "%d", signal);
	return name;
}

const char *
text_printable(const char *text, char *clean, size_t size)
{
	size_t used = 0;

	for (; *text != '\0'; text++) {
		bool plain = *text >= ' ' && *text <= '~' && *text != '\\';

		if (used + (plain ? 1 : 4) >= size)
			break;
		if (plain)
			clean[used++] = *text;
		else
			used += hex_escape((unsigned char)*text, clean + used);
	}
	clean[used] = '\0';
	return clean;
}

/* ---- options ------------------------------------------------------- */

#define OPTION_WIDTH	24	/* columns of an option's forms in --help */

int
option_next(int argc, char **argv, const struct option_spec *table)
{
	struct option longs[OPTIONS_MAX + 1] = { 0 };
	/* "-": words that are not options are returned in their order. */
	char shorts[2 * OPTIONS_MAX + 2] = "-";
	size_t used = 1;

	for (size_t i = 0; i < OPTIONS_MAX && table[i].name != NULL; i++) {
		longs[i].name = table[i].name;
		longs[i].has_arg = table[i].arg != NULL;
		longs[i].val = table[i].key;
		if (table[i].key > UCHAR_MAX)
			continue;
		shorts[used++] = (char)table[i].key;
		if (table[i].arg != NULL)
			shorts[used++] = ':';
	}
	return getopt_long(argc, argv, shorts, longs, NULL);
}

void
option_help(FILE *stream, const struct option_spec *table)
{
	for (; table->name != NULL; table++) {
		char form[48] = "      ";
		size_t used = strlen(form);

		if (table->key <= UCHAR_MAX)
			text_format(form, sizeof(form), "  -%c, ", table->key);
		used += text_format(form + used, sizeof(form) - used,
		    "--%s%s%s", table->name, table->arg == NULL ? "" : "=",
		    table->arg == NULL ? "" : table->arg);
		fputs(form, stream);
		for (; used < OPTION_WIDTH; used++)
			putc(' ', stream);
		putc(' ', stream);
		fputs(table->help, stream);
		putc('\n', stream);
	}
}

/* ---- time ---------------------------------------------------------- */

/* The call with 64-bit times: on 32-bit machines it has another name. */
#ifdef SYS_clock_gettime64
#define LINUX_CLOCK_GETTIME	SYS_clock_gettime64
#else
#define LINUX_CLOCK_GETTIME	SYS_clock_gettime
#endif

/*
 * Makes the system call itself: a libc first looks up the kernel's code in the
 * vdso, which takes longer than these few calls and makes a static program one
 * percent larger.
 */
static int64_t
clock_ms(clockid_t clock)
{
	struct {
		int64_t	seconds, nanoseconds;
	} t = { 0, 0 };
	struct sysinfo system = { .uptime = 0 };

	for (int tries = 0; tries < 2; tries++)
		if (syscall(LINUX_CLOCK_GETTIME, clock, &t) == 0)
			return t.seconds * SECOND + t.nanoseconds / 1000000;
	/* The call is forbidden.  Without a clock no deadline would come. */
	sysinfo(&system);
	return (int64_t)system.uptime * SECOND;
}

int64_t
deadline_in(int64_t ms)
{
	int64_t start = clock_ms(CLOCK_MONOTONIC);

	return ms >= DEADLINE_NEVER - start ? DEADLINE_NEVER : start + ms;
}

int
deadline_left(int64_t deadline)
{
	int64_t left;

	if (deadline == DEADLINE_NEVER)
		return -1;
	left = deadline - clock_ms(CLOCK_MONOTONIC);
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

/* ---- files --------------------------------------------------------- */

void
fd_close(int *fd)
{
	int keep = errno;

	if (*fd != -1)
		close(*fd);
	*fd = -1;
	errno = keep;
}

#define DESCRIPTORS_LIKELY	4096	/* open descriptors are below this */

/*
 * Closes all descriptors from first on.
 * source   close_range(2)
 */
static void
fds_close_from(int first)
{
	struct confinement_limit limit;

	if (syscall(SYS_close_range, first, UINT_MAX, 0) == 0)
		return;
	/* Before Linux 5.9.  Open descriptors may be above the limit. */
	if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) == -1 ||
	    limit.soft < DESCRIPTORS_LIKELY)
		limit.soft = DESCRIPTORS_LIKELY;
	for (int fd = first; (uint64_t)fd < limit.soft; fd++)
		close(fd);
}

int
fds_tidy(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd != -1 && fd <= STDERR_FILENO);
	if (fd == -1)
		return -1;
	fds_close_from(STDERR_FILENO + 1);
	return 0;
}

/* Reads all of fd, and closes it. */
static ssize_t
fd_read(int fd, char *buffer, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size && (n = read(fd, buffer + used, size - used)) != 0) {
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			fd_close(&fd);
			return -1;
		}
		used += (size_t)n;
	}
	fd_close(&fd);
	if (used == size) {
		buffer[size - 1] = '\0';
		errno = EFBIG;
		return -1;
	}
	buffer[used] = '\0';
	return (ssize_t)used;
}

ssize_t
file_read(int dir, const char *path, char *buffer, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	return fd == -1 ? -1 : fd_read(fd, buffer, size);
}

int
file_exists(int dir, const char *path)
{
	struct stat st;

	return fstatat(dir, path, &st, 0);
}

/* True if fd is on a file system of that type. */
static bool
fd_is_on(int fd, long magic)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (long)fs.f_type == magic;
}

#define LINUX_RESOLVE_NO_XDEV		0x01
#define LINUX_RESOLVE_NO_MAGICLINKS	0x02
#define LINUX_RESOLVE_NO_SYMLINKS	0x04
#define LINUX_RESOLVE_BENEATH		0x08
#define LINUX_RESOLVE_IN_ROOT		0x10

struct sys_open_how {
	uint64_t	flags, mode, resolve;
};

#define OPEN_TRIES	1000	/* some ms; then the caller may try again */

/*
 * openat2(2), which fails with EAGAIN if anything on the system is renamed or
 * mounted while it follows "..".
 */
static int
sys_openat2(int dir, const char *path, struct sys_open_how *how)
{
	int fd, tries = OPEN_TRIES;

	do
		fd = (int)syscall(SYS_openat2, dir, path, how, sizeof(*how));
	while (fd == -1 && errno == EAGAIN && --tries > 0);
	return fd;
}

int
file_open_in_root(int root, const char *path)
{
	struct sys_open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = LINUX_RESOLVE_IN_ROOT | LINUX_RESOLVE_NO_MAGICLINKS,
	};
	char link[32];
	struct stat st;
	int file = -1, found = sys_openat2(root, path, &how);

	if (found == -1)
		return -1;
	/* Opening a device may have an effect; opening a FIFO may block. */
	if (fstat(found, &st) == 0 && S_ISREG(st.st_mode)) {
		text_format(link, sizeof(link), "/proc/self/fd/%d", found);
		file = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	} else
		errno = EINVAL;
	fd_close(&found);
	return file;
}

/*
 * Makes a stream of a descriptor.  stream_close() then closes the descriptor.
 */
static void
stream_of_fd(int fd, struct stream *stream)
{
	stream->fd = fd;
	stream->error = 0;
	stream->cut = false;
	stream->next = stream->end = stream->buffer;
}

/* Opens the file path below the directory dir as a stream. */
static int
stream_open(int dir, const char *path, struct stream *stream)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd == -1)
		return -1;
	stream_of_fd(fd, stream);
	return 0;
}

void
text_stream(const char *text, size_t length, struct stream *stream)
{
	stream_of_fd(-1, stream);
	stream->next = text;
	stream->end = text + length;
}

/* Reads more if the buffer is used up.  False at the end of the text. */
static bool
stream_fill(struct stream *stream)
{
	ssize_t n;

	if (stream->next < stream->end)
		return true;
	if (stream->fd == -1 || stream->error != 0)
		return false;
	do
		n = read(stream->fd, stream->buffer, STREAM_SIZE);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		stream->error = errno;
	if (n <= 0)
		return false;
	stream->buffer[n] = '\0';
	stream->next = stream->buffer;
	stream->end = stream->buffer + n;
	return true;
}

/*
 * Takes the next word of a stream, and the delimiter that ends it.  A NUL and
 * the end of the text end a word, too.
 *   delimiters  the other bytes that end a word
 *   word        ends with a NUL; if the word does not fit it is cut, and
 *               stream->cut is true
 * Returns  the delimiter, 0 for a NUL; -1 at the end of the text, where word
 *          may still have a word.  If stream->error is not 0, the text ended
 *          because it could not be read.
 */
static int
stream_word(struct stream *stream, const char *delimiters, char *word,
    size_t size)
{
	size_t used = 0;
	int delimiter = -1;

	stream->cut = false;
	while (delimiter == -1 && stream_fill(stream)) {
		/* stream_fill() has put a NUL after what was read. */
		size_t length = strcspn(stream->next, delimiters);
		size_t fits = length < size - 1 - used ? length :
		    size - 1 - used;

		memcpy(word + used, stream->next, fits);
		used += fits;
		stream->cut = stream->cut || fits < length;
		stream->next += length;
		if (stream->next < stream->end)
			delimiter = (unsigned char)*stream->next++;
	}
	word[used] = '\0';
	return delimiter;
}

/*
 * Skips the rest of the current line.
 *   delimiter  what stream_word() has returned last
 * Returns    false at the end of the text
 */
static bool
stream_line(struct stream *stream, int delimiter)
{
	char skipped[1];

	while (delimiter != '\n' && delimiter != -1)
		delimiter = stream_word(stream, "\n", skipped, sizeof(skipped));
	return delimiter != -1;
}

/* Closes stream.  Keeps errno. */
static void
stream_close(struct stream *stream)
{
	fd_close(&stream->fd);
}

#define LINUX_DT_DIR	4

/* An entry of a directory, as getdents64(2) gives it. */
struct linux_dirent64 {
	uint64_t	inode;
	int64_t		offset;
	uint16_t	length;
	uint8_t		type;
	char		name[];
};

/* A directory that is being read.  Empty: fd is -1. */
struct directory {
	int		 fd;
	size_t		 next, end;	/* what is not yet taken of buffer */
	_Alignas(8) char buffer[4096];
};

static int
directory_open(int dir, const char *path, struct directory *directory)
{
	directory->fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	directory->next = directory->end = 0;
	return directory->fd == -1 ? -1 : 0;
}

/*
 * True if a directory certainly has no subdirectories.  Many slices have none:
 * only the files that every cgroup has.
 */
static bool
directory_is_leaf(const struct directory *directory)
{
	struct stat st;

	/* Its name and its "." are two links; each subdirectory adds one. */
	return fstat(directory->fd, &st) == 0 && st.st_nlink == 2;
}

/* Returns the next entry, or NULL: at the end with errno 0. */
static const struct linux_dirent64 *
directory_next(struct directory *directory)
{
	const struct linux_dirent64 *entry;

	if (directory->next == directory->end) {
		long n = syscall(SYS_getdents64, directory->fd,
		    directory->buffer, sizeof(directory->buffer));

		if (n <= 0) {
			errno = n == 0 ? 0 : errno;
			return NULL;
		}
		directory->next = 0;
		directory->end = (size_t)n;
	}
	entry = (const void *)(directory->buffer + directory->next);
	directory->next += entry->length;
	return entry;
}

static void
directory_close(struct directory *directory)
{
	fd_close(&directory->fd);
}

/* ---- memory -------------------------------------------------------- */

void *
shared_map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED |
	    MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void
shared_unmap(void *memory, size_t size)
{
	int error = errno;

	if (memory != NULL)
		munmap(memory, size);
	errno = error;
}

/* ---- helper -------------------------------------------------------- */

int
child_wait(pid_t pid, int *status)
{
	pid_t n;
	int wstatus;

	do
		n = waitpid(pid, &wstatus, 0);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		return -1;
	*status = wstatus;
	return 0;
}

/* Like fork(2).  A libc's fork() does work for threads, and we have none. */
static pid_t
sys_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/*
 * Ends this process even if a system call filter fakes the call: a libc's
 * _exit() may repeat it for ever.
 */
static _Noreturn void
sys_exit(int status)
{
	syscall(SYS_exit_group, status);
	__builtin_trap();
}

int
child_start(void (*work)(void *), void *argument, struct process *child)
{
	pid_t parent = getpid(), pid = sys_fork();
	int status, error;

	if (pid == -1)
		return -1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Whoever reads from these must not wait for this child. */
		for (int fd = 0; fd < FDS_STANDARD; fd++)
			close(fd);
		if (getppid() == parent)
			work(argument);
		sys_exit(EXIT_SUCCESS);
	}
	if (process_open(pid, child) == 0)
		return 0;
	error = errno;
	kill(pid, SIGKILL);
	child_wait(pid, &status);
	errno = error;
	return -1;
}

/* A program to be executed; name is looked up on PATH. */
struct program {
	const char		*name;
	const char *const	*argv;
	char			**environment;
	int		 fds[FDS_STANDARD];	/* above 2; -1: /dev/null */
	bool			 stays;		/* see processor_keep() */
};

/*
 * Keeps this process, and those that it starts, on the current processor.
 * Otherwise the kernel moves it at the exec to an idle processor, and waking
 * that up may take longer than all of the work.  The executed program undoes
 * this: see processors_restore() and scheduling_apply().
 */
static void
processor_keep(void)
{
	cpu_set_t set;
	unsigned processor;

	if (syscall(SYS_getcpu, &processor, NULL, NULL) == -1)
		return;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * Becomes the program, with the default action for the signals that we ignore
 * for ourselves.  Returns only if that fails.
 */
static void
program_exec(const struct program *program)
{
	for (int i = 0; i < FDS_STANDARD; i++) {
		int fd = program->fds[i] != -1 ? program->fds[i] :
		    open("/dev/null", O_RDWR | O_CLOEXEC);

		if (fd == -1 || dup2(fd, i) == -1)
			return;
	}
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	if (program->stays)
		processor_keep();
	/* execve(2) never changes the words. */
	execvpe(program->name, (char *const *)(uintptr_t)program->argv,
	    program->environment);
}

/*
 * Starts a program; fails if it cannot be executed.  The child reports this
 * through memory that it shares with us until its exec.  Copying our memory
 * would take a large part of the time that entering a machine takes.
 */
static int
program_start(const struct program *program, pid_t *pid)
{
	volatile int error = 0;
	int status;

	/* NOLINTBEGIN(*.vfork,*.Vfork): the child changes nothing of ours. */
	pid_t child = vfork();

	if (child == 0) {
		program_exec(program);
		error = errno;
		sys_exit(EXIT_FAILURE);
	}
	/* NOLINTEND(*.vfork,*.Vfork) */
	if (child == -1)
		return -1;
	*pid = child;
	if (error == 0)
		return 0;
	child_wait(child, &status);
	errno = error;
	return -1;
}

/*
 * Reads what is there now; what does not fit into output is dropped.
 * Returns  1; 0 at the end; -1
 */
static int
helper_read(int fd, char *output, size_t size, size_t *used)
{
	char excess[512];
	ssize_t n = size - *used > 1 ?
	    read(fd, output + *used, size - *used - 1) :
	    read(fd, excess, sizeof(excess));

	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 1 : -1;
	if (size - *used > 1)
		*used += (size_t)n;
	return n > 0;
}

/* Collects the output of helper until it has ended. */
static int
helper_wait(const struct process *helper, int out, int64_t deadline,
    char *output, size_t size)
{
	struct pollfd fds[] = {
		{ .fd = helper->fd, .events = POLLIN },
		{ .fd = out, .events = POLLIN },
	};
	size_t used = 0;
	int n, more = 1;

	do {
		n = poll(fds, 2, deadline_left(deadline));
		if (n > 0 && fds[1].revents != 0 && (more =
		    helper_read(out, output, size, &used)) == 0)
			fds[1].fd = -1;
	} while (more != -1 && ((n == -1 && errno == EINTR) ||
	    (n > 0 && (fds[0].revents == 0 || fds[1].revents & POLLIN))));
	output[used] = '\0';
	if (n == 0)
		errno = ETIMEDOUT;
	return n > 0 && more != -1 ? 0 : -1;
}

int
helper_run(const char *const argv[], int64_t deadline, char *output,
    size_t size)
{
	struct process helper = PROCESS_NONE;
	int pipefd[2], status, result = -1;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) == -1)
		return -1;
	/* Only our end: the helper must not get a non-blocking descriptor. */
	if (fcntl(pipefd[0], F_SETFL, O_NONBLOCK) == -1)
		goto out;
	if (program_start(&(struct program){ argv[0], argv, environ,
	    { -1, pipefd[1], -1 }, false }, &pid) == -1)
		goto out;
	fd_close(&pipefd[1]);
	/* A child keeps its number until waitpid(), so nobody else has it. */
	bool ended = process_open(pid, &helper) == 0 &&
	    helper_wait(&helper, pipefd[0], deadline, output, size) == 0;
	int error = errno;

	if (!ended)
		kill(pid, SIGKILL);
	if (child_wait(pid, &status) == 0) {
		if (ended)
			result = process_exit_status(status);
		errno = ended ? error : ETIMEDOUT;
	}
out:
	process_close(&helper);
	fd_close(&pipefd[0]);
	fd_close(&pipefd[1]);
	return result;
}

/* ---- process ------------------------------------------------------- */

int
process_open(pid_t pid, struct process *process)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd == -1)
		return -1;
	*process = (struct process){ .pid = pid, .fd = fd };
	return 0;
}

/* Makes a second struct process for the same process. */
static int
process_copy(const struct process *process, struct process *copy)
{
	copy->pid = process->pid;
	copy->fd = fcntl(process->fd, F_DUPFD_CLOEXEC, 0);
	return copy->fd == -1 ? -1 : 0;
}

bool
process_alive(const struct process *process)
{
	struct pollfd fd = { .fd = process->fd, .events = POLLIN };
	int n = process->fd == -1 ? 1 : poll(&fd, 1, 0);

	if (n == 1)
		errno = ESRCH;
	return n == 0;
}

int
process_signal(const struct process *process, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, process->fd, signal, NULL,
	    0);
}

void
process_close(struct process *process)
{
	fd_close(&process->fd);
	process->pid = 0;
}

int
process_exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
	    WEXITSTATUS(status);
}

/* struct pidfd_info of Linux 6.13, with the exit code that 6.15 added. */
struct linux_pidfd_info {
	uint64_t	mask, cgroup;
	uint32_t	pid, tgid, ppid, ids[8];
	int32_t		exit_code;
};

#define LINUX_PIDFD_GET_INFO	_IOWR(0xff, 11, struct linux_pidfd_info)
#define LINUX_PIDFD_INFO_PID	(UINT64_C(1) << 0)
#define LINUX_PIDFD_INFO_CREDS	(UINT64_C(1) << 1)
#define LINUX_PIDFD_INFO_EXIT	(UINT64_C(1) << 3)

int
process_wait_status(const struct process *process, int *status)
{
	struct linux_pidfd_info info = { .mask = LINUX_PIDFD_INFO_EXIT };

	/* The ioctl() of some libcs takes an int, and the request is larger. */
	if (syscall(SYS_ioctl, process->fd, LINUX_PIDFD_GET_INFO, &info) == -1)
		return -1;
	if ((info.mask & LINUX_PIDFD_INFO_EXIT) == 0) {
		errno = EAGAIN;
		return -1;
	}
	*status = info.exit_code;
	return 0;
}

/* ---- signals ------------------------------------------------------- */

void
signals_block(void)
{
	static const uint64_t all = UINT64_MAX;

	/* A libc's sigprocmask() leaves out the signals that it uses itself. */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
}

void
signal_end_by(int number, pid_t whom)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;

	prlimit(0, RLIMIT_CORE, &none, NULL);
	prctl(PR_SET_DUMPABLE, 0);	/* no limit stops a core to a pipe */
	signal(number, SIG_DFL);
	kill(whom, number);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

bool
signal_is_ignored(int signal)
{
	struct sigaction action;

	return sigaction(signal, NULL, &action) == 0 &&
	    action.sa_handler == SIG_IGN;
}

/* ---- process: files ------------------------------------------------ */

/* True if an error only means that a process has ended. */
static bool
error_is_gone(int error)
{
	return error == ESRCH || error == ENOENT;
}

/* True if something is lacking now, but may not be later. */
static bool
error_is_temporary(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM ||
	    error == EAGAIN || error == EINTR;
}

/* Returns the beginning of the next line; at the end an empty text. */
static const char *
line_next(const char *text)
{
	text += strcspn(text, "\n");
	return text + (*text == '\n');
}

/* Finds the line that begins with key.  Returns what follows key, or NULL. */
static const char *
line_value(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (; *text != '\0'; text = line_next(text))
		if (strncmp(text, key, length) == 0)
			return text + length;
	return NULL;
}

/* Reads a line of exactly count hexadecimal digits. */
static bool
line_hex(const char *line, size_t count, uint64_t *number)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t n = 0;

	line += strspn(line, " \t");
	if (strspn(line, digits) != count)
		return false;
	for (size_t i = 0; i < count; i++)
		n = n << 4 | (uint64_t)(strchr(digits, line[i]) - digits);
	*number = n;
	return true;
}

/* Reads a set of signals as /proc shows it. */
static bool
line_signals(const char *line, uint64_t *signals)
{
	return line_hex(line, 16, signals);
}

/*
 * Takes the next number of a line and the blanks before it.  False if there is
 * no number.
 */
static bool
line_number(const char **line, uint64_t *number)
{
	char digits[24];
	size_t length;

	*line += strspn(*line, " \t");
	length = strspn(*line, "0123456789");
	if (length >= sizeof(digits))
		return false;
	memcpy(digits, *line, length);
	digits[length] = '\0';
	*line += length;
	return number_parse(digits, INT64_MAX, number) == 0;
}

/* Copies a line without the blanks before it; what does not fit is cut. */
static void
line_copy(const char *line, char *copy, size_t size)
{
	size_t length;

	line += strspn(line, " \t");
	length = strcspn(line, "\n");
	if (length > size - 1)
		length = size - 1;
	memcpy(copy, line, length);
	copy[length] = '\0';
}

/*
 * Takes the next word of a line and the blanks before it.
 * Returns  as stream_word()
 */
static int
line_word(struct stream *stream, char *word, size_t size)
{
	int delimiter;

	do
		delimiter = stream_word(stream, " \t\n", word, size);
	while (word[0] == '\0' && (delimiter == ' ' || delimiter == '\t'));
	return delimiter;
}

/* Finds the line that begins with "key:", and goes on to what follows. */
static int
line_find(struct stream *stream, const char *key)
{
	char word[16];
	int delimiter;

	do {
		delimiter = stream_word(stream, ":\n", word, sizeof(word));
		if (delimiter == ':' && !stream->cut && strcmp(word, key) == 0)
			return 0;
	} while (stream_line(stream, delimiter));
	errno = stream->error != 0 ? stream->error : EINVAL;
	return -1;
}

/* The lines of /proc/PID/status that are read. */
enum {
	STATUS_NAME, STATUS_STATE, STATUS_PPID, STATUS_TRACER, STATUS_UID,
	STATUS_NSPID, STATUS_PENDING, STATUS_BLOCKED, STATUS_CAUGHT,
	STATUS_BOUNDING, STATUS_NO_NEW_PRIVS,
	STATUS_SECCOMP,	/* missing if the kernel knows no filters */
	STATUS_GROUPS,
	STATUS_LINES
};

static const char status_keys[STATUS_LINES][12] = {
	"Name", "State", "PPid", "TracerPid", "Uid", "NSpid", "ShdPnd",
	"SigBlk", "SigCgt", "CapBnd", "NoNewPrivs", "Seccomp", "Groups",
};

/* Returns where a line that is a set of bits is kept; NULL for other lines. */
static uint64_t *
status_set(size_t line, struct process_status *status)
{
	switch (line) {
	case STATUS_PENDING:
		return &status->pending;
	case STATUS_BLOCKED:
		return &status->blocked;
	case STATUS_CAUGHT:
		return &status->caught;
	case STATUS_BOUNDING:
		return &status->bounding;
	default:
		return NULL;
	}
}

/* Keeps the number of a line.  False if it is not valid there. */
static bool
status_keep_number(size_t line, uint64_t n, struct process_status *status)
{
	switch (line) {
	case STATUS_PPID:
		status->ppid = (pid_t)n;
		break;
	case STATUS_TRACER:
		status->tracer = (pid_t)n;
		break;
	case STATUS_NSPID:
		status->inner = (pid_t)n;
		status->depth++;
		break;
	case STATUS_UID:
		status->uid = (uid_t)n;
		return true;
	case STATUS_NO_NEW_PRIVS:
		status->no_new_privs = n != 0;
		return true;
	default:
		status->filtered = n != 0;
		return true;
	}
	return n < INT_MAX;
}

/* Keeps one word of a line.  False if it is not valid there. */
static bool
status_keep(size_t line, const char *word, struct process_status *status)
{
	uint64_t n, *set = status_set(line, status);

	if (set != NULL)
		return line_signals(word, set);
	switch (line) {
	case STATUS_NAME:
		line_copy(word, status->name, sizeof(status->name));
		return true;
	case STATUS_STATE:
		status->state = *word;
		return *word != '\0';
	case STATUS_GROUPS:
		status->grouped = *word != '\0';
		return true;
	default:
		return number_parse(word, UINT32_MAX, &n) == 0 &&
		    status_keep_number(line, n, status);
	}
}

/*
 * Reads the words that follow the key of a line.
 * Returns  the last delimiter, as stream_word(); -2 if the line is not valid
 */
static int
status_line(struct stream *stream, size_t line, struct process_status *status)
{
	char word[PROCESS_NAME_SIZE + 1];	/* a tab precedes the name */
	int delimiter;

	if (line == STATUS_NAME) {
		delimiter = stream_word(stream, "\n", word, sizeof(word));
		return status_keep(line, word, status) ? delimiter : -2;
	}
	do {
		delimiter = line_word(stream, word, sizeof(word));
		if (!status_keep(line, word, status))
			return -2;
	} while (line == STATUS_NSPID && delimiter == '\t');
	return delimiter;
}

int
process_status_parse(struct stream *stream, struct process_status *status)
{
	const unsigned needed = (1u << STATUS_SECCOMP) - 1;
	const unsigned all = (1u << STATUS_LINES) - 1;
	struct process_status s = { .depth = 0 };
	unsigned seen = 0;
	int delimiter;

	do {
		char key[sizeof(status_keys[0])];
		size_t line = 0;

		delimiter = stream_word(stream, ":\n", key, sizeof(key));
		while (line < STATUS_LINES && (*key != *status_keys[line] ||
		    strcmp(key, status_keys[line]) != 0))
			line++;
		if (delimiter != ':' || stream->cut || line == STATUS_LINES)
			continue;
		delimiter = status_line(stream, line, &s);
		seen |= 1u << line;
	} while (seen != all && delimiter != -2 &&
	    stream_line(stream, delimiter));
	if (stream->error != 0 || delimiter == -2 ||
	    (seen & needed) != needed) {
		errno = stream->error != 0 ? stream->error : EINVAL;
		return -1;
	}
	*status = s;
	return 0;
}

bool
signal_in(uint64_t set, int signal)
{
	return (set >> (signal - 1) & 1) != 0;
}

#define PROC_PATH_SIZE	64

/*
 * Writes the path of a process's file below proc; process 0 is the caller.
 * Entering a machine needs fifty of these, and printf(3) would take longer than
 * most of the system calls that use them.
 */
static const char *
proc_path(char path[PROC_PATH_SIZE], pid_t pid, const char *file)
{
	char digits[] = "0000000000/";
	size_t first = sizeof(digits) - 2;

	for (; pid > 0; pid /= 10)
		digits[--first] = (char)('0' + pid % 10);
	stpcpy(stpcpy(path, digits[first] == '/' ? "self/" : digits + first),
	    file);
	return path;
}

/* Reads a file of a process below proc. */
static ssize_t
proc_read(int proc, pid_t pid, const char *file, char *buffer, size_t size)
{
	char path[PROC_PATH_SIZE];

	return file_read(proc, proc_path(path, pid, file), buffer, size);
}

/* Opens a file of a process below proc as a stream. */
static int
proc_stream(int proc, pid_t pid, const char *file, struct stream *stream)
{
	char path[PROC_PATH_SIZE];

	return stream_open(proc, proc_path(path, pid, file), stream);
}

int
process_status_read(int proc, pid_t pid, struct process_status *status)
{
	struct stream stream;
	int n;

	if (proc_stream(proc, pid, "status", &stream) == -1)
		return -1;
	n = process_status_parse(&stream, status);
	stream_close(&stream);
	return n;
}

/* Takes all numbers of a line.  Returns how many there are, or -1. */
static ssize_t
line_ids(struct stream *stream, uint32_t *ids, size_t size)
{
	int delimiter = '\t';
	size_t count = 0;
	char word[16];
	uint64_t id;

	while (delimiter == '\t' || delimiter == ' ') {
		delimiter = line_word(stream, word, sizeof(word));
		if (word[0] == '\0')
			continue;
		if (number_parse(word, UINT32_MAX, &id) == -1)
			return -1;
		if (count == size) {
			errno = E2BIG;
			return -1;
		}
		ids[count++] = (uint32_t)id;
	}
	errno = stream->error;
	return stream->error == 0 ? (ssize_t)count : -1;
}

int
process_groups_read(int proc, pid_t pid, gid_t **groups, size_t *count)
{
	struct stream stream;
	ssize_t n = -1;
	/* Only the pages that are written to take memory. */
	gid_t *list = shared_map(PROCESS_GROUPS_MAX * sizeof(*list));

	if (list == NULL)
		return -1;
	if (proc_stream(proc, pid, "status", &stream) == 0) {
		if (line_find(&stream, "Groups") == 0)
			n = line_ids(&stream, list, PROCESS_GROUPS_MAX);
		stream_close(&stream);
	}
	if (n == -1) {
		process_groups_free(list);
		return -1;
	}
	*groups = list;
	*count = (size_t)n;
	return 0;
}

void
process_groups_free(gid_t *groups)
{
	shared_unmap(groups, PROCESS_GROUPS_MAX * sizeof(*groups));
}

#define STAT_STARTTIME	22	/* the field's place in /proc/PID/stat */

int64_t
process_age(int proc, pid_t pid)
{
	char text[1024];
	uint64_t ticks;
	const char *field;

	if (proc_read(proc, pid, "stat", text, sizeof(text)) == -1)
		return -1;
	/* The second field, its name, may contain blanks and parentheses. */
	field = strrchr(text, ')');
	for (int i = 2; field != NULL && i < STAT_STARTTIME; i++)
		field = strchr(field + 1, ' ');
	if (field == NULL || !line_number(&field, &ticks))
		return -1;
	return clock_ms(CLOCK_BOOTTIME) -
	    (int64_t)ticks * SECOND / (int64_t)getauxval(AT_CLKTCK);
}

const char *
process_wchan(int proc, pid_t pid, char wchan[PROCESS_NAME_SIZE])
{
	if (proc_read(proc, pid, "wchan", wchan, PROCESS_NAME_SIZE) == -1 ||
	    strcmp(wchan, "0") == 0)
		wchan[0] = '\0';
	return wchan;
}

/*
 * Reads the path of a process's program from the kernel.
 *   name     the last part of path, and points into it
 * errors   ENOENT  when the process, or its first thread, has ended
 */
static int
process_exe(int proc, pid_t pid, char path[PATH_MAX], const char **name)
{
	static const char deleted[] = " (deleted)";
	const size_t tail = sizeof(deleted) - 1;
	char link[PROC_PATH_SIZE];
	ssize_t n = readlinkat(proc, proc_path(link, pid, "exe"), path,
	    PATH_MAX - 1);

	if (n == -1)
		return -1;
	path[n] = '\0';
	if ((size_t)n > tail && strcmp(path + (size_t)n - tail, deleted) == 0)
		path[(size_t)n - tail] = '\0';
	*name = path_base(path);
	return 0;
}

/* Adds bytes to a hash by FNV-1a. */
static uint64_t
fingerprint_add(uint64_t fingerprint, const void *bytes, size_t size)
{
	for (const unsigned char *byte = bytes; size > 0; byte++, size--)
		fingerprint = (fingerprint ^ *byte) * UINT64_C(1099511628211);
	return fingerprint;
}

/* The end of the name of the function in which rt_sigtimedwait(2) sleeps. */
#define SIGNALS_AWAITED	"sigtimedwait"

bool
process_waits_for_signal(int proc, pid_t pid)
{
	char wchan[PROCESS_NAME_SIZE];

	process_wchan(proc, pid, wchan);
	/* A compiler may have added to it, as in do_sigtimedwait.isra.0. */
	wchan[strcspn(wchan, ".")] = '\0';
	return ends_with(wchan, SIGNALS_AWAITED);
}

uint64_t
process_fingerprint(int proc, pid_t pid)
{
	uint64_t fingerprint = UINT64_C(14695981039346656037);
	char path[PATH_MAX];
	struct process_status status;
	const char *program;

	if (process_exe(proc, pid, path, &program) == 0)
		fingerprint = fingerprint_add(fingerprint, path, strlen(path));
	if (process_status_read(proc, pid, &status) == 0) {
		fingerprint = fingerprint_add(fingerprint, &status.caught,
		    sizeof(status.caught));
		fingerprint = fingerprint_add(fingerprint, &status.blocked,
		    sizeof(status.blocked));
	}
	return fingerprint + process_waits_for_signal(proc, pid);
}

/* Returns the next process of a proc directory, or 0: at the end errno is 0. */
static pid_t
proc_next(struct directory *dir)
{
	const struct linux_dirent64 *entry;
	uint64_t pid;

	while ((entry = directory_next(dir)) != NULL)
		if (number_parse(entry->name, INT_MAX, &pid) == 0)
			return (pid_t)pid;
	return 0;
}

/* ---- namespaces ---------------------------------------------------- */

/* A kind of namespace. */
struct namespace_kind {
	char	name[8];	/* our name for it */
	char	file[8];	/* the kernel's name, below /proc/PID/ns */
	int	flag;		/* CLONE_NEW... */
};

static const struct namespace_kind namespace_kinds[NAMESPACES] = {
	[NAMESPACE_MOUNT] = { "mount", "mnt", CLONE_NEWNS },
	[NAMESPACE_UTS] = { "uts", "uts", CLONE_NEWUTS },
	[NAMESPACE_IPC] = { "ipc", "ipc", CLONE_NEWIPC },
	[NAMESPACE_NETWORK] = { "network", "net", CLONE_NEWNET },
	[NAMESPACE_PID] = { "pid", "pid", CLONE_NEWPID },
	[NAMESPACE_CGROUP] = { "cgroup", "cgroup", CLONE_NEWCGROUP },
	[NAMESPACE_TIME] = { "time", "time", CLONE_NEWTIME },
	[NAMESPACE_USER] = { "user", "user", CLONE_NEWUSER },
};

const char *
namespace_name(int number)
{
	return namespace_kinds[number].name;
}

int
namespace_number(const char *name, size_t length)
{
	for (int i = 0; i < NAMESPACES; i++)
		if (part_is(name, length, namespace_kinds[i].name) ||
		    part_is(name, length, namespace_kinds[i].file))
			return i;
	return -1;
}

#define NAMESPACE_LINK_SIZE	32	/* of a link /proc/PID/ns/... */

/*
 * Reads the number of a process's namespace from the text of its link, which is
 * several times faster than following the link.  No two namespaces that exist
 * have the same number.
 * source   namespaces(7), "The /proc/pid/ns/ directory"
 */
static int
namespace_id(int proc, pid_t pid, const char *file, uint64_t *id)
{
	char path[PROC_PATH_SIZE], text[NAMESPACE_LINK_SIZE];
	ssize_t n = readlinkat(proc, proc_path(path, pid, file), text,
	    sizeof(text) - 1);

	if (n == -1)
		return -1;
	text[n] = '\0';
	text[strcspn(text, "]")] = '\0';	/* "pid:[4026531836]" */
	n = (ssize_t)strcspn(text, "[");
	return number_parse(text + n + (text[n] == '['), UINT64_MAX, id);
}

/*
 * Compares a namespace of a process with the caller's.
 * Returns  1 if they are the same, 0 if they differ; -1
 */
static int
namespace_same(int proc, pid_t pid, const char *file)
{
	uint64_t theirs, ours;

	if (namespace_id(proc, 0, file, &ours) == -1 ||
	    namespace_id(proc, pid, file, &theirs) == -1)
		return -1;
	return ours == theirs;
}

/*
 * Opens a namespace of a process.
 *   compared  whether to leave out a namespace that is the caller's, too;
 *             comparing takes as long as opening
 *   fd        -1 if it is left out, or the kernel lacks such namespaces
 * errors   EOWNERDEAD  when the process has lost it, because its first thread
 *                      has ended
 */
static int
namespace_open(int proc, pid_t pid, const char *file, bool compared, int *fd)
{
	char path[PROC_PATH_SIZE];
	struct stat theirs;
	uint64_t ours = 0;

	*fd = openat(proc, proc_path(path, pid, file), O_RDONLY | O_CLOEXEC);
	if (*fd == -1 && errno == ENOENT) {
		if (namespace_id(proc, 0, file, &ours) == -1)
			return errno == ENOENT ? 0 : -1;
		errno = EOWNERDEAD;
	}
	if (*fd == -1)
		return -1;
	if (!compared)
		return 0;
	int n = fstat(*fd, &theirs);

	if (n == 0)
		n = namespace_id(proc, 0, file, &ours);
	if (n == -1 || theirs.st_ino == ours)
		fd_close(fd);
	return n;
}

/*
 * Opens the namespaces of the set wanted.
 *   compared  a set: those are left out that are the caller's, too
 */
static int
namespaces_open_some(int proc, const struct process *process, unsigned wanted,
    unsigned compared, int fds[NAMESPACES])
{
	int opened[NAMESPACES], error = 0;

	for (int i = 0; i < NAMESPACES; i++) {
		char file[16] = "ns/";

		opened[i] = -1;
		text_copy(namespace_kinds[i].file, file + 3, sizeof(file) - 3);
		if (error == 0 && (wanted & 1u << i) != 0 && namespace_open(
		    proc, process->pid, file, (compared & 1u << i) != 0,
		    &opened[i]) == -1)
			error = errno;
	}
	/* If the process has ended, that is the reason of any error. */
	if (!process_alive(process) && (error == 0 || errno == ESRCH))
		error = errno;
	for (int i = 0; i < NAMESPACES; i++) {
		if (error != 0)
			fd_close(&opened[i]);
		else
			fds[i] = opened[i];
	}
	errno = error;
	return error == 0 ? 0 : -1;
}

int
namespaces_open(int proc, const struct process *process, unsigned wanted,
    int fds[NAMESPACES])
{
	return namespaces_open_some(proc, process, wanted, NAMESPACES_ALL, fds);
}

/*
 * Joins the namespaces of fds.  Only the caller's children are then in the pid
 * namespace.
 *   failed   on failure the place of the one that could not be joined
 * source   setns(2)
 */
static int
namespaces_join(const int fds[NAMESPACES], int *failed)
{
	for (int i = 0; i < NAMESPACES; i++)
		if (fds[i] != -1 &&
		    setns(fds[i], namespace_kinds[i].flag) == -1) {
			*failed = i;
			return -1;
		}
	return 0;
}

/* ---- host ---------------------------------------------------------- */

#define LINUX_CGROUP_MAGIC	0x27e0eb
#define LINUX_CGROUP2_MAGIC	0x63677270

/* Opens the directory path if it is on a file system of that type. */
static int
hierarchy_open(const char *path, long magic)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd == -1)
		return -1;
	if (fstatfs(fd, &fs) == -1)
		fd_close(&fd);
	else if ((long)fs.f_type != magic) {
		fd_close(&fd);
		errno = ENOENT;
	}
	return fd;
}

/*
 * Opens the root of the hierarchy of cgroups in which systemd keeps its units.
 */
static int
hierarchy_of_units(void)
{
	int fd = hierarchy_open("/sys/fs/cgroup", LINUX_CGROUP2_MAGIC);

	return fd != -1 || errno != ENOENT ? fd :
	    hierarchy_open("/sys/fs/cgroup/systemd", LINUX_CGROUP_MAGIC);
}

#define LINUX_PROC_MAGIC	0x9fa0

/*
 * Finds out whether proc is the kernel's own: there "self" is a link.
 * errors   EXDEV  when that link does not have the caller's own number
 */
static int
proc_verify(int proc, bool *real)
{
	char own[NUMBER_SIZE];
	ssize_t n = readlinkat(proc, "self", own, sizeof(own) - 1);
	uint64_t pid;

	*real = n != -1;
	if (n == -1 && errno == ENOENT && fd_is_on(proc, LINUX_PROC_MAGIC))
		errno = EXDEV;
	if (n == -1)
		return errno == EINVAL ? 0 : -1;
	own[n] = '\0';
	if (number_parse(own, INT_MAX, &pid) == 0 && (pid_t)pid == getpid())
		return 0;
	errno = EXDEV;
	return -1;
}

#define LINUX_PID_INIT_INO	0xeffffffcu	/* of the first PID namespace */

/*
 * Verifies that PID 1 of proc is systemd if systemd runs this host.  In the
 * first PID namespace nothing is hidden, whatever PID 1 is; another namespace
 * whose PID 1 has systemd's name is not noticed.
 * errors   EXDEV  when it is another program
 * source   sd_booted(3); main() of systemd gives itself that name;
 *          PROC_PID_INIT_INO in linux/proc_ns.h, the same since Linux 3.8
 */
static int
proc_verify_systemd(int proc)
{
	char name[32];
	struct stat own;

	if ((fstatat(proc, "self/ns/pid", &own, 0) == 0 &&
	    own.st_ino == LINUX_PID_INIT_INO) ||
	    access("/run/systemd/system/", F_OK) == -1 ||
	    proc_read(proc, 1, "comm", name, sizeof(name)) == -1 ||
	    strcmp(name, "systemd\n") == 0)
		return 0;
	errno = EXDEV;
	return -1;
}

int
host_open(const char *proc, const char *cgroup, struct host *host)
{
	const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	struct host h = { .proc = open(proc, flags), .cgroup = -1 };

	if (h.proc == -1 || proc_verify(h.proc, &h.real) == -1 ||
	    (h.real && proc_verify_systemd(h.proc) == -1)) {
		host_close(&h);
		return -1;
	}
	h.cgroup = cgroup == NULL ? hierarchy_of_units() : open(cgroup, flags);
	/* Without a hierarchy the search is slower; other errors are errors. */
	if (h.cgroup == -1 && errno != ENOENT && errno != ENOTDIR &&
	    errno != EACCES) {
		host_close(&h);
		return -1;
	}
	*host = h;
	return 0;
}

const char *
host_strerror(int error)
{
	return error == EXDEV ? "this /proc belongs to another PID namespace"
	    " than the caller or the host's systemd" : strerror(error);
}

void
host_close(struct host *host)
{
	fd_close(&host->cgroup);
	fd_close(&host->proc);
}

/* ---- units and cgroups --------------------------------------------- */

#define HIERARCHY_SIZE	256	/* the names of all controllers fit */

/* A line of /proc/PID/cgroup. */
struct cgroup_line {
	char	hierarchy[HIERARCHY_SIZE];	/* controllers, or its name */
	char	path[PATH_MAX];		/* empty if the line is not valid */
};

/* Takes the next line.  False at the end. */
static bool
cgroup_line_next(struct stream *stream, struct cgroup_line *line)
{
	char number[16];
	int delimiter;

	line->hierarchy[0] = line->path[0] = '\0';
	delimiter = stream_word(stream, ":\n", number, sizeof(number));
	if (delimiter == ':')
		delimiter = stream_word(stream, ":\n", line->hierarchy,
		    sizeof(line->hierarchy));
	if (delimiter == ':')
		delimiter = stream_word(stream, "\n", line->path,
		    sizeof(line->path));
	return stream_line(stream, delimiter) || line->path[0] != '\0';
}

/* True if a path is so long that the kernel may have cut it. */
static bool
path_is_cut(const char *path)
{
	return strlen(path) == PATH_MAX - 1;
}

/* True if a hierarchy has that name or that controller. */
static bool
hierarchy_is(const char *hierarchy, const char *name)
{
	size_t length = strlen(name);

	if (*hierarchy == '\0' || strcmp(hierarchy, name) == 0)
		return *hierarchy == *name;
	do {
		hierarchy += *hierarchy == ',';
		if (strcspn(hierarchy, ",") == length &&
		    memcmp(hierarchy, name, length) == 0)
			return true;
		hierarchy += strcspn(hierarchy, ",");
	} while (*hierarchy != '\0');
	return false;
}

int
process_cgroup(int proc, pid_t pid, const char *hierarchy, char *path,
    size_t size)
{
	struct cgroup_line line;
	struct stream stream;
	bool found;

	if (proc_stream(proc, pid, "cgroup", &stream) == -1)
		return -1;
	do
		found = cgroup_line_next(&stream, &line);
	while (found && (line.path[0] == '\0' ||
	    !hierarchy_is(line.hierarchy, hierarchy)));
	stream_close(&stream);
	errno = found ? ENAMETOOLONG : stream.error != 0 ? stream.error :
	    ENOENT;
	if (!found || strlen(line.path) >= size || path_is_cut(line.path))
		return -1;
	memcpy(path, line.path, strlen(line.path) + 1);
	return 0;
}

static bool
part_is_slice(const char *part, size_t length)
{
	static const char slice[] = ".slice";
	const size_t tail = sizeof(slice) - 1;

	return length >= tail && part_is(part + length - tail, tail, slice);
}

/*
 * Cuts the path of a cgroup in the payload of a unit to the path of that unit,
 * without the '/' at its beginning.  Any other path becomes empty.
 */
static void
path_cut(char *path)
{
	static const char payload[] = "/payload";
	const size_t tail = sizeof(payload) - 1;
	char *part = path;
	size_t length;

	for (;;) {
		part += *part == '/';
		length = strcspn(part, "/");
		if (!part_is_slice(part, length))
			break;
		part += length;
	}
	part += length;
	if (strncmp(part, payload, tail) == 0 &&
	    strchr("/", part[tail]) != NULL)
		*part = '\0';
	else
		*path = '\0';
	if (*path == '/')
		memmove(path, path + 1, strlen(path));
}

int
cgroup_unit(struct stream *stream, char path[PATH_MAX])
{
	struct cgroup_line line;

	path[0] = '\0';
	while (path[0] == '\0' && cgroup_line_next(stream, &line)) {
		if (line.hierarchy[0] != '\0' &&
		    strcmp(line.hierarchy, "name=systemd") != 0)
			continue;
		memcpy(path, line.path, sizeof(line.path));
		path_cut(path);
	}
	errno = stream->error;
	return stream->error == 0 ? 0 : -1;
}

/* The names of the machines that a unit may belong to; empty: none. */
struct unit_names {
	char	names[2][MACHINE_NAME_MAX + 1];
};

/*
 * Reads a part of a unit's name, up to end, as the name of a machine.  The only
 * character of such a name that systemd escapes is '-'.
 *   escaped  true if systemd has escaped it
 *   name     empty if the part is not the name of a machine
 */
static void
unit_part_name(const char *part, const char *end, bool escaped,
    char name[MACHINE_NAME_MAX + 1])
{
	static const char dash[] = "\\x2d";
	size_t used = 0;

	while (part < end && used < MACHINE_NAME_MAX &&
	    (!escaped || *part != '-')) {
		bool is_dash = escaped &&
		    strncmp(part, dash, sizeof(dash) - 1) == 0;

		name[used++] = (char)(is_dash ? '-' : *part);
		part += is_dash ? sizeof(dash) - 1 : 1;
	}
	name[used] = '\0';
	if (part != end || !machine_name_valid(name))
		name[0] = '\0';
}

#define MACHINE_PREFIX	"machine-"	/* of a scope that nspawn makes */

/*
 * Finds the names of the machines that a unit may belong to.  The unit's name
 * has the form machine-NAME.scope, NAME.scope or systemd-nspawn@NAME.service.
 */
static void
unit_names_find(const char *unit, struct unit_names *found)
{
	static const char nspawn[] = NSPAWN "@";
	const char *end;

	found->names[0][0] = found->names[1][0] = '\0';
	unit += *unit == '_';	/* systemd puts it before some names */
	end = unit + strlen(unit);
	if (ends_with(unit, ".scope")) {
		unit_part_name(unit, end - 6, false, found->names[1]);
		if (begins_with(unit, MACHINE_PREFIX))
			unit_part_name(unit + sizeof(MACHINE_PREFIX) - 1,
			    end - 6, true, found->names[0]);
	} else if (begins_with(unit, nspawn) && ends_with(unit, ".service")) {
		unit += sizeof(nspawn) - 1;
		unit_part_name(unit, end - 8, false, found->names[1]);
		/* Old releases escaped the name. */
		unit_part_name(unit, end - 8, true, found->names[0]);
	}
}

/* True if the unit may belong to the machine of that name. */
static bool
unit_names_have(const struct unit_names *found, const char *name)
{
	return strcmp(found->names[0], name) == 0 ||
	    strcmp(found->names[1], name) == 0;
}

/* Returns the machine's name that is most likely, or "". */
static const char *
unit_names_first(const struct unit_names *found)
{
	return found->names[found->names[0][0] == '\0'];
}

bool
unit_is_machines(const char *path, const char *name)
{
	struct unit_names found;

	unit_names_find(path_base(path), &found);
	return machine_name_valid(name) && unit_names_have(&found, name);
}

/* What is read of a line of /proc/PID/mountinfo, see proc(5). */
struct mount_line {
	char	root[PATH_MAX], point[PATH_MAX];
	char	type[16], options[256];
};

/* Takes the next line.  False at the end, and if it cannot be read. */
static bool
mount_line_next(struct stream *stream, struct mount_line *line)
{
	char word[256];
	int delimiter = ' ';

	for (int i = 0; i < 3 && delimiter == ' '; i++)
		delimiter = stream_word(stream, " \n", word, sizeof(word));
	if (delimiter == -1)
		return false;
	stream_word(stream, " \n", line->root, sizeof(line->root));
	delimiter = stream_word(stream, " \n", line->point,
	    sizeof(line->point));
	while (delimiter == ' ' && strcmp(word, "-") != 0)
		delimiter = stream_word(stream, " \n", word, sizeof(word));
	stream_word(stream, " \n", line->type, sizeof(line->type));
	stream_word(stream, " \n", word, sizeof(word));
	delimiter = stream_word(stream, "\n", line->options,
	    sizeof(line->options));
	return delimiter != -1 && stream->error == 0;
}

/* True if options has each of controllers; both are separated by ','. */
static bool
options_include(const char *options, const char *controllers)
{
	char name[HIERARCHY_SIZE];
	struct stream stream;
	int delimiter = ',';

	text_stream(controllers, strlen(controllers), &stream);
	while (delimiter == ',') {
		delimiter = stream_word(&stream, ",", name, sizeof(name));
		if (!hierarchy_is(options, name))
			return false;
	}
	return true;
}

/*
 * Opens the folder of a cgroup below a mount.
 * errors   ENODEV  when the mount is of another hierarchy, or of a part of it
 *                  without this cgroup
 */
static int
cgroup_open_in_mount(const struct cgroup_line *line,
    const struct mount_line *mount)
{
	bool unified = line->hierarchy[0] == '\0';
	size_t root = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
	const char *below = line->path + root;
	int top, fd;

	if (strcmp(mount->type, unified ? "cgroup2" : "cgroup") != 0 ||
	    (!unified && !options_include(mount->options, line->hierarchy)) ||
	    strncmp(line->path, mount->root, root) != 0 ||
	    (*below != '/' && *below != '\0')) {
		errno = ENODEV;
		return -1;
	}
	top = hierarchy_open(mount->point, unified ? LINUX_CGROUP2_MAGIC :
	    LINUX_CGROUP_MAGIC);
	if (top == -1) {
		if (errno == ENOENT)	/* another mount is on top of it */
			errno = ENODEV;
		return -1;
	}
	below += strspn(below, "/");
	fd = openat(top, *below == '\0' ? "." : below,
	    O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd_close(&top);
	return fd;
}

/*
 * Opens the folder of a cgroup.
 * errors   ENODEV  when no mount shows it
 *          ENOENT  when it has been removed
 */
static int
cgroup_open(const struct host *host, const struct cgroup_line *line)
{
	struct mount_line mount;
	struct stream mounts;
	const char *path = line->path;
	int fd = -1, error = ENODEV;

	/* Nothing outside of our cgroup namespace is mounted. */
	if (*path != '/' || strcmp(path, "/..") == 0 ||
	    strncmp(path, "/../", 4) == 0) {
		errno = ENODEV;
		return -1;
	}
	/* On a host of cgroup v2 alone its mount is known. */
	if (line->hierarchy[0] == '\0' &&
	    fd_is_on(host->cgroup, LINUX_CGROUP2_MAGIC))
		return openat(host->cgroup, strcmp(path, "/") == 0 ? "." :
		    path + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (stream_open(host->proc, "self/mountinfo", &mounts) == -1)
		return -1;
	while (fd == -1 && error == ENODEV &&
	    mount_line_next(&mounts, &mount)) {
		fd = cgroup_open_in_mount(line, &mount);
		error = errno;
	}
	stream_close(&mounts);
	errno = mounts.error != 0 ? mounts.error : error;
	return fd;
}

#define CGROUP_DEPTH_MAX	64	/* levels of folders */

/* Removes the folder of a cgroup and depth levels of folders below it. */
static int
cgroup_remove_below(int dir, const char *path, int depth)
{
	const struct linux_dirent64 *entry;
	struct directory folder;

	if (depth > 0 && directory_open(dir, path, &folder) == 0) {
		while ((entry = directory_next(&folder)) != NULL)
			if (entry->type == LINUX_DT_DIR &&
			    entry->name[0] != '.')
				cgroup_remove_below(folder.fd, entry->name,
				    depth - 1);
		directory_close(&folder);
	}
	return unlinkat(dir, path, AT_REMOVEDIR);
}

int
cgroup_remove(int dir, const char *path)
{
	return cgroup_remove_below(dir, path, CGROUP_DEPTH_MAX);
}

/* ---- nspawn: its command line -------------------------------------- */

/*
 * systemd-nspawn's long options of all releases from 252 to 262; those with a
 * "=" take an argument.  Where several begin alike, the oldest comes first:
 * when that was the only one, an abbreviation was accepted and meant it.
 */
static const char nspawn_options[] =
	"machine=\0" "directory=\0" "image=\0" "image-policy=\0" "ephemeral\0"
	"kill-signal=\0" "template=\0" "boot\0" "as-pid2\0" "user=\0" "uid=\0"
	"uuid=\0" "help\0" "hostname=\0" "version\0" "verity-data=\0"
	"volatile\0" "read-only\0" "register=\0" "resolv-conf=\0"
	"restrict-address-families=\0" "rlimit=\0" "root-hash=\0"
	"root-hash-sig=\0" "quiet\0" "keep-unit\0" "private-network\0"
	"private-users\0" "private-users-chown\0" "private-users-ownership=\0"
	"private-users-delegate=\0" "property=\0" "port=\0" "personality=\0"
	"pipe\0" "pivot-root=\0" "bind=\0" "bind-ro=\0" "bind-user=\0"
	"bind-user-group=\0" "bind-user-shell=\0" "background=\0" "tmpfs=\0"
	"timezone=\0" "overlay=\0" "overlay-ro=\0" "oci-bundle=\0"
	"oom-score-adjust=\0" "inaccessible=\0" "slice=\0" "setenv=\0"
	"settings=\0" "set-credential=\0" "selinux-context=\0"
	"selinux-apifs-context=\0" "share-system\0" "suppress-sync=\0"
	"system\0" "system-call-filter=\0" "load-credential=\0"
	"link-journal=\0" "network-interface=\0" "network-macvlan=\0"
	"network-ipvlan=\0" "network-veth\0" "network-veth-extra=\0"
	"network-bridge=\0" "network-zone=\0" "network-namespace-path=\0"
	"notify-ready=\0" "no-new-privileges=\0" "no-pager\0"
	"no-ask-password\0" "capability=\0" "chdir=\0" "cpu-affinity=\0"
	"console=\0" "cleanup\0" "ambient-capability=\0" "drop-capability=\0"
	"forward-journal=\0" "forward-journal-max-use=\0"
	"forward-journal-keep-free=\0" "forward-journal-max-file-size=\0"
	"forward-journal-max-files=\0";

/*
 * Finds the option that word, up to length, is or abbreviates.
 * Returns  its entry of nspawn_options, or NULL
 */
static const char *
nspawn_option(const char *word, size_t length)
{
	const char *found = NULL;

	for (const char *option = nspawn_options; *option != '\0';
	    option += strlen(option) + 1) {
		if (strncmp(option, word, length) != 0)
			continue;
		if (option[length] == '\0' || option[length] == '=')
			return option;
		if (found == NULL)
			found = option;
	}
	return found;
}

static enum nspawn_settings
settings_mode(const char *value)
{
	static const char no[][6] = { "no", "n", "false", "f", "off", "0" };

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (strcasecmp(value, no[i]) == 0)
			return NSPAWN_SETTINGS_NONE;
	return strcmp(value, "override") == 0 ? NSPAWN_SETTINGS_OVERRIDE :
	    NSPAWN_SETTINGS_YES;
}

/* Keeps an option if we need it; letter is 0 if it is a long one. */
static void
nspawn_option_keep(const char *option, char letter, const char *value,
    struct nspawn_args *args)
{
	bool image = letter == 'i' || strcmp(option, "image=") == 0;

	if (letter == 'M' || strcmp(option, "machine=") == 0)
		text_copy(value, args->machine, sizeof(args->machine));
	else if (image || (!args->image &&
	    (letter == 'D' || strcmp(option, "directory=") == 0)))
		text_copy(value, args->path, sizeof(args->path));
	else if (strcmp(option, "kill-signal=") == 0)
		text_copy(value, args->kill_signal,
		    sizeof(args->kill_signal));
	else if (letter == 'x' || strcmp(option, "ephemeral") == 0)
		args->ephemeral = true;
	else if (strcmp(option, "settings=") == 0)
		args->settings = settings_mode(value);
	else if (strcmp(option, "oci-bundle=") == 0)
		args->oci_bundle = true;
	else if (strcmp(option, "keep-unit") == 0)
		args->keep_unit = true;
	args->image = args->image || image;
}

/* Its short options that take an argument. */
#define NSPAWN_SHORT_ARG	"DuLMSZipEs"

/*
 * Reads a word of short options; next is the word after it.
 * Returns  true if next is the argument of the last option
 */
static bool
nspawn_shorts(const char *word, const char *next, struct nspawn_args *args)
{
	for (word++; *word != '\0'; word++) {
		if (strchr(NSPAWN_SHORT_ARG, *word) == NULL) {
			nspawn_option_keep("", *word, "", args);
			continue;
		}
		nspawn_option_keep("", *word, word[1] == '\0' ? next : word + 1,
		    args);
		return word[1] == '\0';
	}
	return false;
}

/*
 * Reads a word that is a long option; next is the word after it.
 * Returns  true if next is the argument of the option
 */
static bool
nspawn_long(const char *word, const char *next, struct nspawn_args *args)
{
	size_t length = strcspn(word + 2, "=");
	const char *value = word + 2 + length;
	const char *option = nspawn_option(word + 2, length);

	if (option == NULL)
		return false;
	if (*value == '=') {
		nspawn_option_keep(option, 0, value + 1, args);
		return false;
	}
	bool takes = option[strlen(option) - 1] == '=';

	/* Since 260 --user may have no argument, with another meaning. */
	if (strcmp(option, "user=") == 0 && *next == '-')
		takes = false;
	nspawn_option_keep(option, 0, takes ? next : "", args);
	return takes;
}

#define NSPAWN_WORD_SIZE	(PATH_MAX + 32)	/* an option and its path */

/* Takes the next word of a command line.  False at its end. */
static bool
nspawn_word(struct stream *stream, char word[NSPAWN_WORD_SIZE])
{
	return stream_word(stream, "", word, NSPAWN_WORD_SIZE) != -1 ||
	    word[0] != '\0';
}

int
nspawn_args_parse(struct stream *stream, struct nspawn_args *args)
{
	char buffers[2][NSPAWN_WORD_SIZE];
	char *word = buffers[0], *next = buffers[1];
	bool more = nspawn_word(stream, word);	/* argv[0] */

	memset(args, 0, sizeof(*args));
	more = more && nspawn_word(stream, word);
	while (more && word[0] == '-' && word[1] != '\0' &&
	    strcmp(word, "--") != 0) {
		bool taken;

		more = nspawn_word(stream, next);
		taken = word[1] == '-' ? nspawn_long(word, next, args) :
		    nspawn_shorts(word, next, args);
		if (taken)
			more = more && nspawn_word(stream, next);
		char *other = word;

		word = next;
		next = other;
	}
	errno = stream->error;
	return stream->error == 0 ? 0 : -1;
}

/*
 * Finds the name that systemd-nspawn makes of a path: the last part, without
 * the suffix of an image and the characters that a name may not contain.
 * Returns  false if that is longer than a name may be
 */
static bool
path_own_name(const struct nspawn_args *args,
    char name[MACHINE_NAME_MAX + 1])
{
	static const char suffix[] = ".raw";
	const size_t tail = sizeof(suffix) - 1;
	const char *path = args->path;
	size_t end = strlen(path), start, used = 0;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--)
		;
	if (args->image && end - start > tail &&
	    memcmp(path + end - tail, suffix, tail) == 0)
		end -= tail;
	for (; start < end; start++)
		if (is_alnum(path[start]) || path[start] == '-' ||
		    path[start] == '.') {
			if (used == MACHINE_NAME_MAX)
				return false;
			name[used++] = path[start];
		}
	name[used] = '\0';
	return true;
}

/* True if text is what --ephemeral appends: '-' and 16 hexadecimal digits. */
static bool
is_ephemeral_tail(const char *text)
{
	return text[0] == '-' && strlen(text) == 17 &&
	    strspn(text + 1, "0123456789abcdef") == 16;
}

/* True if a path ends in "/", "." or "..", or is empty: that is not a name. */
static bool
path_nameless(const char *path)
{
	size_t end = strlen(path);
	size_t dots = 0;

	while (end > 0 && path[end - 1] == '/')
		end--;
	while (end > 0 && path[end - 1] == '.') {
		end--;
		dots++;
	}
	return dots <= 2 && (end == 0 || path[end - 1] == '/');
}

enum nspawn_name
nspawn_args_name(const struct nspawn_args *args, const char *name)
{
	char own[MACHINE_NAME_MAX + 1];

	if (args->machine[0] != '\0')
		return strcmp(args->machine, name) == 0 ? NSPAWN_NAME_MATCHES :
		    NSPAWN_NAME_DIFFERS;
	if (path_nameless(args->path))
		return NSPAWN_NAME_UNKNOWN;
	if (!path_own_name(args, own))
		return NSPAWN_NAME_DIFFERS;
	if (args->ephemeral)
		return begins_with(name, own) &&
		    is_ephemeral_tail(name + strlen(own)) ?
		    NSPAWN_NAME_MATCHES : NSPAWN_NAME_DIFFERS;
	return strcmp(name, own) == 0 ? NSPAWN_NAME_MATCHES :
	    NSPAWN_NAME_DIFFERS;
}

/* Makes a relative path of a process absolute. */
static void
path_complete(int proc, pid_t pid, char path[PATH_MAX])
{
	char link[PROC_PATH_SIZE], whole[PATH_MAX];
	ssize_t n = readlinkat(proc, proc_path(link, pid, "cwd"), whole,
	    sizeof(whole) - 1);

	if (n == -1)
		return;
	text_format(whole + n, sizeof(whole) - (size_t)n, "/%s", path);
	memcpy(path, whole, sizeof(whole));
}

/* Removes "." parts, double slashes and the last slash from a path. */
static void
path_simplify(char *path)
{
	char *end = path, *part = path;

	while (*part != '\0') {
		size_t length = strcspn(part, "/");

		if (length > 0 && !part_is(part, length, ".")) {
			if (end > path || *path == '/')
				*end++ = '/';
			memmove(end, part, length);
			end += length;
		}
		part += length;
		part += *part == '/';
	}
	*end = '\0';
}

/*
 * Finds the name of the machine that a command line of systemd-nspawn starts.
 * Returns  false if it does not tell the name, as with --ephemeral
 */
static bool
args_own_name(const struct nspawn_args *args,
    char name[MACHINE_NAME_MAX + 1])
{
	if (args->machine[0] != '\0')
		text_copy(args->machine, name, MACHINE_NAME_MAX + 1);
	else if (args->ephemeral || path_nameless(args->path) ||
	    !path_own_name(args, name))
		return false;
	/* A name that is too long has been cut, and is not valid. */
	return strlen(args->machine) <= MACHINE_NAME_MAX &&
	    machine_name_valid(name);
}

/*
 * Reads the command line of a systemd-nspawn.  If it gives neither a name nor a
 * path, the machine is in the current directory.
 */
static int
nspawn_args_read(int proc, pid_t pid, struct nspawn_args *args)
{
	struct stream stream;
	int n;

	if (proc_stream(proc, pid, "cmdline", &stream) == -1)
		return -1;
	n = nspawn_args_parse(&stream, args);
	stream_close(&stream);
	if (n == -1 || (args->path[0] == '\0' && args->machine[0] != '\0'))
		return n;
	if (args->path[0] != '/')
		path_complete(proc, pid, args->path);
	path_simplify(args->path);
	return 0;
}

/* ---- nspawn: its settings file ------------------------------------- */

/* Reads the number of a signal as systemd does: decimal, hex or octal. */
static int
signal_digits(const char *text)
{
	int base = 10, n = 0;

	text += *text == '+';
	if (text[0] == '0' && text[1] != '\0') {
		base = text[1] == 'x' || text[1] == 'X' ? 16 : 8;
		text += base == 16 ? 2 : 1;
	}
	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		int digit = is_digit(*text) ? *text - '0' :
		    *text >= 'a' && *text <= 'f' ? *text - 'a' + 10 :
		    *text >= 'A' && *text <= 'F' ? *text - 'A' + 10 : base;

		if (digit >= base || n > SIGNAL_RTMAX)
			return -1;
		n = n * base + digit;
	}
	return n >= 1 && n <= SIGNAL_RTMAX ? n : -1;
}

/* Reads a signal as systemd does: names must be in capital letters. */
static int
nspawn_signal(const char *text)
{
	int n = signal_digits(text);

	for (const char *c = text; n == -1 && *c != '\0'; c++)
		if (*c >= 'a' && *c <= 'z')
			return -1;
	return n != -1 ? n : signal_number(text);
}

#define SETTINGS_LINE	1024	/* bytes */
#define SETTINGS_MAX	65536	/* lines that are read */

/* Removes blanks from both ends of a line. */
static char *
line_strip(char *line)
{
	size_t length;

	line += strspn(line, BLANKS);
	for (length = strlen(line); length > 0 &&
	    strchr(BLANKS, line[length - 1]) != NULL; length--)
		line[length - 1] = '\0';
	return line;
}

/*
 * Takes the next line of a settings file.  After a line that ends with a
 * backslash the next one is appended; comments are skipped.  False at the end.
 */
static bool
settings_line(struct stream *stream, char line[SETTINGS_LINE])
{
	size_t used = 0, length, slashes;
	bool more = true, on = true, cut = false;
	char *part, text[SETTINGS_LINE];

	line[0] = '\0';
	while (more && on) {
		more = stream_word(stream, "\n\r", text, sizeof(text)) != -1;
		part = text + strspn(text, BLANKS);
		if (*part == '#' || *part == ';')
			continue;
		cut = cut || stream->cut;
		length = strlen(part);
		for (slashes = 0; slashes < length &&
		    part[length - 1 - slashes] == '\\'; slashes++)
			;
		on = slashes % 2 != 0;
		if (on)
			part[length - 1] = ' ';
		used += text_format(line + used, SETTINGS_LINE - used, "%s",
		    part);
	}
	if (cut || used == SETTINGS_LINE - 1)
		line[0] = '\0';	/* too long for KillSignal= */
	return more;
}

/* Reads a line of the section Exec.  True if it is a valid KillSignal=. */
static bool
settings_signal(char *line, int *signal)
{
	char *value = strchr(line, '=');

	if (value == NULL)
		return false;
	*value = '\0';
	*signal = nspawn_signal(line_strip(value + 1));
	return *signal != -1 && strcmp(line_strip(line), "KillSignal") == 0;
}

int
nspawn_settings_parse(struct stream *stream, int *signal)
{
	static const char mark[] = "\xef\xbb\xbf";	/* of byte order */
	char text[SETTINGS_LINE], *line;
	bool exec = false, more = true;
	int n;

	*signal = 0;
	for (size_t lines = 0; more && lines < SETTINGS_MAX; lines++) {
		more = settings_line(stream, text);
		line = text;
		if (lines == 0 && strncmp(line, mark, sizeof(mark) - 1) == 0)
			line += sizeof(mark) - 1;
		line = line_strip(line);
		if (*line == '[')
			exec = strcmp(line, "[Exec]") == 0;
		else if (exec && settings_signal(line, &n))
			*signal = n;
	}
	errno = stream->error;
	return stream->error == 0 ? 0 : -1;
}

/*
 * Finds the name of a machine's settings file, without ".nspawn", in the same
 * way as systemd-nspawn.
 */
static void
settings_name(const struct nspawn_args *args,
    char name[MACHINE_NAME_MAX + 2])
{
	size_t used = 0;

	if (args->machine[0] != '\0') {
		text_copy(args->machine, name, MACHINE_NAME_MAX + 2);
		return;
	}
	for (const char *c = path_base(args->path); *c != '\0' &&
	    used < MACHINE_NAME_MAX && (!args->image ||
	    strcmp(c, ".raw") != 0); c++)
		if (is_alnum(*c) || *c == '-' || *c == '.')
			name[used++] = *c;
	name[used] = '\0';
}

/*
 * Opens the settings file of a machine: the first one that exists counts.
 * errors   ENOENT  when there is none
 * source   systemd.nspawn(5)
 */
static int
settings_open(int proc, pid_t pid, const struct nspawn_args *args)
{
	static const char folders[][24] = {
		"/etc/systemd/nspawn", "/run/systemd/nspawn", "",
		/* The folders of the images, for a machine without a path. */
		"/etc/machines", "/run/machines", "/var/lib/machines",
		"/usr/local/lib/machines", "/usr/lib/machines",
	};
	const size_t most = sizeof(folders) / sizeof(folders[0]);
	char name[MACHINE_NAME_MAX + 2];
	char path[PATH_MAX + MACHINE_NAME_MAX + 16];
	const char *beside = args->path;
	int root = openat(proc, proc_path(path, pid, "root"),
	    O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;

	if (root == -1)
		return -1;
	settings_name(args, name);
	errno = ENOENT;
	for (size_t i = 0; i < (*beside == '\0' ? most : 3) && fd == -1 &&
	    errno == ENOENT; i++) {
		const char *folder = *folders[i] == '\0' ? beside : folders[i];

		if (*folder == '\0')
			continue;
		int length = (int)(folder == beside ? path_base(beside) -
		    beside : (ptrdiff_t)strlen(folder));

		text_format(path, sizeof(path), "%.*s/%s.nspawn", length,
		    folder, name);
		fd = file_open_in_root(root, path);
	}
	fd_close(&root);
	return fd;
}

/* Reads the signal in a machine's settings file; 0 if there is none. */
static int
settings_read(int proc, pid_t pid, const struct nspawn_args *args,
    int *signal)
{
	struct stream stream;
	int fd, n;

	*signal = 0;
	if (args->settings == NSPAWN_SETTINGS_NONE || args->oci_bundle)
		return 0;
	fd = settings_open(proc, pid, args);
	if (fd == -1)	/* systemd-nspawn could not read it, either */
		return error_is_temporary(errno) ? -1 : 0;
	stream_of_fd(fd, &stream);
	n = nspawn_settings_parse(&stream, signal);
	stream_close(&stream);
	return n;
}

/* ---- machined ------------------------------------------------------ */

int
machined_run(const char *const argv[], struct machined *machined, char *output,
    size_t size)
{
	int status;

	if (machined->hung) {
		errno = ETIMEDOUT;
		return -1;
	}
	status = helper_run(argv, machined->deadline, output, size);
	if (status == -1 && errno == ETIMEDOUT)
		machined->hung = true;
	return status;
}

/* Finds the value of a line NAME=VALUE before the first empty line. */
static const char *
property_find(const char *lines, const char *name)
{
	size_t length = strlen(name);

	while (*lines != '\0' && *lines != '\n') {
		if (strncmp(lines, name, length) == 0 && lines[length] == '=')
			return lines + length + 1;
		lines += strcspn(lines, "\n");
		lines += *lines == '\n';
	}
	return NULL;
}

bool
property_is(const char *lines, const char *name, const char *value)
{
	const char *found = property_find(lines, name);

	return found != NULL && part_is(found, strcspn(found, "\n"), value);
}

uint64_t
property_number(const char *lines, const char *name)
{
	const char *found = property_find(lines, name);
	char text[NUMBER_SIZE];
	uint64_t n = 0;

	if (found != NULL) {
		text_format(text, sizeof(text), "%.*s",
		    (int)strcspn(found, "\n"), found);
		number_parse(text, INT_MAX, &n);
	}
	return n;
}

const char *
properties_next(const char *lines)
{
	while (*lines != '\0' && *lines != '\n') {
		lines += strcspn(lines, "\n");
		lines += *lines == '\n';
	}
	return lines + (*lines == '\n');
}

/*
 * Asks machined for the leader of a machine.
 * errors   ESRCH      when it does not know one, or there is no machinectl
 *          ETIMEDOUT  when machinectl hangs, or was killed
 */
static int
machined_leader(const char *name, struct machined *machined, pid_t *leader)
{
	const char *const argv[] = {
		"machinectl", "show", "-p", "Leader", "--value", name, NULL
	};
	char output[32];
	uint64_t pid;
	int status = machined_run(argv, machined, output, sizeof(output));

	if (status == -1) {
		if (errno == ENOENT)
			errno = ESRCH;
		return -1;
	}
	output[status == 0 ? strcspn(output, "\n") : 0] = '\0';
	if (number_parse(output, INT_MAX, &pid) == -1 || pid <= 1) {
		errno = status > 128 ? ETIMEDOUT : ESRCH;
		return -1;
	}
	*leader = (pid_t)pid;
	return 0;
}

/*
 * Reads the answers of machinectl, which are in the order of the names.
 * Returns  how many there are
 */
static size_t
leaders_take(const char *lines, const char *const names[], size_t count,
    pid_t leaders[])
{
	size_t i;

	for (i = 0; i < count && property_is(lines, "Name", names[i]); i++) {
		leaders[i] = (pid_t)property_number(lines, "Leader");
		lines = properties_next(lines);
	}
	return i;
}

int
machined_leaders(const char *const names[], size_t count,
    struct machined *machined, pid_t leaders[])
{
	static const char *const words[] = {
		"machinectl", "show", "-p", "Name", "-p", "Leader",
	};
	const size_t used = sizeof(words) / sizeof(words[0]);
	const size_t size = (count + 1) * (MACHINE_NAME_MAX + 32);
	const size_t argv_size = (used + count + 1) * sizeof(char *);
	const char **argv = shared_map(argv_size);
	char *output = shared_map(size);
	int status = argv == NULL || output == NULL ? -1 : 1;
	size_t n;

	memset(leaders, 0, count * sizeof(*leaders));
	/* machinectl ends at an unknown name: ask again for those after it. */
	for (size_t i = 0; status > 0 && i < count; i++) {
		memcpy(argv, words, sizeof(words));
		memcpy(argv + used, names + i, (count - i) * sizeof(*names));
		argv[used + count - i] = NULL;
		status = machined_run(argv, machined, output, size);
		n = status == -1 ? 0 : leaders_take(output, names + i,
		    count - i, leaders + i);
		if (n == 0)	/* machined does not answer at all */
			break;
		i += n;
	}
	shared_unmap(output, size);
	shared_unmap(argv, argv_size);
	return status == -1 ? -1 : 0;
}

#define MACHINED_FILES	"/run/systemd/machines"

bool
machined_may_know(const char *name)
{
	char path[sizeof(MACHINED_FILES) + MACHINE_NAME_MAX + 1];

	text_format(path, sizeof(path), "%s/%s", MACHINED_FILES, name);
	return file_exists(AT_FDCWD, path) == 0 || errno != ENOENT;
}

/* ---- machine ------------------------------------------------------- */

bool
machine_foreign(const struct machine *machine)
{
	return machine->owner != 0 && machine->owner != geteuid();
}

int
machine_signal(const struct machine *machine, const char *name, int signal,
    struct machined *machined)
{
	char option[32], output[8];
	int n;
	const char *const argv[] = {
		"machinectl", "kill", name, "--kill-who=leader", option, NULL
	};

	text_format(option, sizeof(option), "--signal=%d", signal);
	if (name != NULL && !machined->hung &&
	    process_alive(&machine->leader)) {
		n = machined_run(argv, machined, output, sizeof(output));
		if (n == 0)
			return 0;
		/* If it was killed, the signal may have been sent. */
		if (machined->hung || n > 128) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
	return process_signal(&machine->leader, signal);
}

/* True if a unit is a scope that is named after the machine. */
static bool
unit_is_scope(const char *unit, const char *name)
{
	return ends_with(unit, ".scope") && unit_is_machines(unit, name);
}

/*
 * Looks for the folder of a scope that is named after the machine, in a slice
 * and in the slices below it; or for the file of its unit in UNIT_FILES.
 *   path     that of the slice, or UNIT_FILES; becomes that of the scope if it
 *            is found
 * Returns  1 if it is there, 0 if it is not; -1
 */
static int
scope_find(int dir, const char *name, char path[PATH_MAX])
{
	const struct linux_dirent64 *entry;
	size_t used = strlen(path);
	struct directory slice;
	int n = 0;

	if (directory_open(dir, used == 0 ? "." : path, &slice) == -1)
		return error_is_gone(errno) ? 0 : -1;
	while (n == 0 && (entry = directory_next(&slice)) != NULL) {
		if (!unit_is_scope(entry->name, name) &&
		    (entry->type != LINUX_DT_DIR ||
		    !part_is_slice(entry->name, strlen(entry->name))))
			continue;
		text_format(path + used, PATH_MAX - used, "%s%s",
		    used == 0 ? "" : "/", entry->name);
		n = unit_is_scope(entry->name, name) ? 1 :
		    scope_find(dir, name, path);
		if (n != 1)
			path[used] = '\0';
	}
	if (n == 0 && errno != 0)
		n = -1;
	directory_close(&slice);
	return n;
}

/* Finds a scope by its folder or, since that goes first, by its unit's file. */
static int
scope_find_any(int cgroup, const char *name, char path[PATH_MAX])
{
	int n = scope_find(cgroup, name, path);

	if (n != 0)
		return n;
	text_format(path, PATH_MAX, UNIT_FILES);
	n = scope_find(AT_FDCWD, name, path);
	if (n != 1)
		path[0] = '\0';
	return n;
}

/*
 * Finds the scope of a leader; empty if it is not named after the machine.
 * Returns  0; 1 if the leader or that folder has gone, so that only the name
 *          is left to look for; -1
 */
static int
scope_of_leader(const struct host *host, const char *name, pid_t leader,
    char unit[PATH_MAX])
{
	struct stream stream;
	int n = proc_stream(host->proc, leader, "cgroup", &stream);

	if (n == 0) {
		n = cgroup_unit(&stream, unit);
		stream_close(&stream);
		/* The name of the unit tells whether it is the machine's. */
		if (!unit_is_scope(unit, name))
			unit[0] = '\0';
		else if (n == 0)
			n = file_exists(host->cgroup, unit);
	}
	if (n == -1 && error_is_gone(errno)) {
		unit[0] = '\0';
		return 1;
	}
	return n;
}

int
machine_scope(const struct host *host, const char *name,
    const struct machine *machine, char *path, size_t size)
{
	char unit[PATH_MAX] = "";
	int n = 1;

	if (host->cgroup == -1)
		n = 0;
	else if (process_alive(&machine->leader))
		n = scope_of_leader(host, name, machine->leader.pid, unit);
	if (n == 1)
		n = scope_find_any(host->cgroup, name, unit);
	if (n == -1)
		return -1;
	if (strlen(unit) >= size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(path, unit, strlen(unit) + 1);
	return 0;
}

/* True if a line of a cgroup's file begins with key and then value. */
static bool
cgroup_file_says(int cgroup, const char *file, const char *key, char value)
{
	char text[256];
	const char *word;

	if (file_read(cgroup, file, text, sizeof(text)) == -1)
		return false;
	word = line_value(text, key);
	return word != NULL && *word == value;
}

/* True if a cgroup is frozen, or is becoming so. */
static bool
cgroup_frozen(int cgroup, const struct cgroup_line *line)
{
	return line->hierarchy[0] == '\0' ?
	    cgroup_file_says(cgroup, "cgroup.events", "frozen ", '1') :
	    hierarchy_is(line->hierarchy, "freezer") &&
	    /* 'F' for FROZEN or FREEZING. */
	    cgroup_file_says(cgroup, "freezer.state", "", 'F');
}

bool
machine_frozen(const struct host *host, const struct machine *machine)
{
	struct cgroup_line line;
	struct stream stream;
	bool frozen = false;

	if (proc_stream(host->proc, machine->leader.pid, "cgroup",
	    &stream) == -1)
		return false;
	while (!frozen && cgroup_line_next(&stream, &line)) {
		int cgroup = -1;

		if ((line.hierarchy[0] == '\0' ||
		    hierarchy_is(line.hierarchy, "freezer")) &&
		    strcmp(line.path, "/") != 0)
			cgroup = cgroup_open(host, &line);
		frozen = cgroup != -1 && cgroup_frozen(cgroup, &line);
		fd_close(&cgroup);
	}
	stream_close(&stream);
	return frozen && process_alive(&machine->leader);
}

/* True if a cgroup has reached its limit of processes. */
static bool
cgroup_full(int cgroup)
{
	char max[32], current[32];
	uint64_t most, have;

	if (file_read(cgroup, "pids.max", max, sizeof(max)) == -1 ||
	    file_read(cgroup, "pids.current", current, sizeof(current)) == -1)
		return false;
	max[strcspn(max, "\n")] = current[strcspn(current, "\n")] = '\0';
	return number_parse(max, UINT32_MAX, &most) == 0 &&
	    number_parse(current, UINT32_MAX, &have) == 0 && have >= most;
}

/*
 * Looks for a full cgroup, from this one upwards.
 * Returns  true if there is one; line->path is then its path
 */
static bool
cgroup_line_full(const struct host *host, struct cgroup_line *line)
{
	bool full = false;
	char *slash;

	while (!full && (slash = strrchr(line->path, '/')) != NULL &&
	    slash[1] != '\0') {
		int cgroup = cgroup_open(host, line);

		full = cgroup != -1 && cgroup_full(cgroup);
		fd_close(&cgroup);
		if (!full)
			*slash = '\0';
	}
	return full;
}

bool
machine_full(const struct host *host, const struct machine *machine,
    char path[PATH_MAX])
{
	struct cgroup_line line;
	struct stream stream;
	bool full = false;

	if (proc_stream(host->proc, machine->leader.pid, "cgroup",
	    &stream) == -1)
		return false;
	while (!full && cgroup_line_next(&stream, &line))
		full = (line.hierarchy[0] == '\0' ||
		    hierarchy_is(line.hierarchy, "pids")) &&
		    cgroup_line_full(host, &line);
	stream_close(&stream);
	if (full)
		memcpy(path, line.path, sizeof(line.path));
	return full;
}

ssize_t
machines_processes(int proc, const struct machine *const machines[],
    size_t count, pid_t *pids, size_t size)
{
	const size_t room = (count + 1) * sizeof(uint64_t);
	uint64_t *theirs = shared_map(room), its;
	struct directory dir;
	ssize_t found = 0;
	size_t known = 0;
	pid_t pid;

	if (theirs == NULL)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (namespace_id(proc, machines[i]->leader.pid, "ns/pid",
		    &theirs[known]) == 0 &&
		    process_alive(&machines[i]->leader))
			known++;
	if (directory_open(proc, ".", &dir) == -1) {
		shared_unmap(theirs, room);
		return -1;
	}
	while ((pid = proc_next(&dir)) != 0) {
		bool in = false;

		if (namespace_id(proc, pid, "ns/pid", &its) == -1)
			continue;
		for (size_t i = 0; i < known && !in; i++)
			in = its == theirs[i];
		if (in && (size_t)found < size)
			pids[found] = pid;
		found += in;
	}
	if (errno != 0)
		found = -1;
	directory_close(&dir);
	shared_unmap(theirs, room);
	return found;
}

void
machine_close(struct machine *machine)
{
	process_close(&machine->leader);
	process_close(&machine->supervisor);
}

/* ---- search: leader and supervisor --------------------------------- */

/*
 * Reads the number of a process's parent, and the process's real user.
 * source   PIDFD_GET_INFO of <linux/pidfd.h>, since Linux 6.13
 */
static int
process_parent(const struct host *host, const struct process *process,
    pid_t *parent, uid_t *uid)
{
	const uint64_t mask = LINUX_PIDFD_INFO_PID | LINUX_PIDFD_INFO_CREDS;
	struct linux_pidfd_info info = { .mask = mask };
	struct process_status status;

	if (host->real && syscall(SYS_ioctl, process->fd,
	    LINUX_PIDFD_GET_INFO, &info) == 0 && (info.mask & mask) == mask) {
		*parent = (pid_t)info.ppid;
		*uid = info.ids[0];
		return 0;
	}
	if (process_status_read(host->proc, process->pid, &status) == -1)
		return -1;
	*parent = status.ppid;
	*uid = status.uid;
	return 0;
}

/*
 * Finds out whether a process is a systemd-nspawn.  Only root can see the
 * program of another user's process; other callers have to trust its name.
 * Returns  1 for yes, 0 for no; -1
 */
static int
process_is_nspawn(int proc, pid_t pid)
{
	struct process_status status;
	char path[PATH_MAX];
	const char *program;

	if (process_exe(proc, pid, path, &program) == 0)
		return strcmp(program, NSPAWN) == 0;
	if (errno == ENOENT)		/* it is ending */
		return 0;
	if (errno == EACCES && process_status_read(proc, pid, &status) == 0)
		return strcmp(status.name, NSPAWN) == 0;
	return -1;
}

/* How a leader is recognised as the one of a machine. */
enum {
	WAY_UNIT = 1,		/* the name of its unit */
	WAY_SUPERVISOR = 2,	/* the command line of its supervisor */
	WAY_MACHINED = 4,	/* machined */
};

/* The machines that are looked for, and what has been found so far. */
struct search {
	const struct host	*host;
	struct machined		*machined;
	struct wanted		*wanted;
	size_t			 count;
	int			 fd_max;	/* none above it is kept open */
	unsigned		 ways;		/* a set of WAY_... */
	const struct wanted	*by_machined;	/* machined named its leader */
	/* If not NULL, it is called for every machine of any name. */
	void			(*take)(void *argument,
				    const struct machine_line *line);
	void			*argument;
	bool			 missed;	/* a unit was not searched */
	int			 error;		/* errno that ended it; or 0 */
	int			 incomplete;	/* errno that hid a process */
};

/*
 * A process that may be a leader.  Each file of it and of its parent is read
 * once.  Only the parent's number is read a second time, when the parent's
 * pidfd is open: before that the number could have become another process's.
 */
struct candidate {
	struct process		 leader;
	struct process_status	 status;
	bool			 is_leader;	/* of some machine */
	bool			 hidden;	/* its unit cannot be read */
	char			 unit[PATH_MAX];	/* as cgroup_unit() */
	struct unit_names	 unit_names;
	struct process		 parent;	/* empty: it does not matter */
	bool			 supervised;	/* parent is a systemd-nspawn */
	pid_t			 grandparent;
	uid_t			 owner;		/* the parent's user */
	struct nspawn_args	 args;		/* the parent's */
};

static void
candidate_close(struct candidate *candidate)
{
	process_close(&candidate->leader);
	process_close(&candidate->parent);
}

/* Fails with ENOTSUP for a process of the caller's own pid namespace. */
static int
candidate_namespace(const struct search *search,
    const struct candidate *candidate)
{
	int same = namespace_same(search->host->proc, candidate->leader.pid,
	    "ns/pid");

	if (same == 1)
		errno = ENOTSUP;
	return same == 0 ? 0 : -1;
}

/* How many numbers NSpid: has for a process of our own pid namespace. */
#define OWN_DEPTH		1

/*
 * Opens a process if it is a leader: PID 1 of a pid namespace directly below
 * the caller's.
 * errors   ESRCH    when it is something else or has ended
 *          ENOTSUP  when machined says that it is a leader, and it is in the
 *                   caller's own pid namespace
 */
static int
candidate_leader(const struct search *search, pid_t pid,
    struct candidate *candidate)
{
	if (process_open(pid, &candidate->leader) == -1 || process_status_read(
	    search->host->proc, pid, &candidate->status) == -1)
		return -1;
	candidate->is_leader = candidate->status.inner == 1 &&
	    candidate->status.depth == OWN_DEPTH + 1;
	if (candidate->is_leader)
		return 0;
	if (search->by_machined == NULL ||
	    candidate_namespace(search, candidate) == 0)
		errno = ESRCH;
	return -1;
}

/* Finds the unit in whose payload the leader is. */
static int
candidate_unit(const struct search *search, struct candidate *candidate)
{
	struct stream stream;
	int n;

	if (proc_stream(search->host->proc, candidate->leader.pid, "cgroup",
	    &stream) == -1)
		return -1;
	n = cgroup_unit(&stream, candidate->unit);
	stream_close(&stream);
	/* A path can be too long for the kernel to show. */
	candidate->hidden = n == -1 && errno == ENAMETOOLONG;
	unit_names_find(path_base(candidate->unit), &candidate->unit_names);
	return candidate->hidden ? 0 : n;
}

/*
 * True if a candidate is the leader of a machine, by the name of its unit and
 * by the command line of its supervisor.
 *   match    the machine's name in that command line
 */
static bool
candidate_has_name(const struct search *search,
    const struct candidate *candidate, const struct wanted *wanted,
    enum nspawn_name match)
{
	/*
	 * The scopes of a registered machine "web" and an unregistered machine
	 * "machine-web" have the same name: the command line decides.
	 */
	return search->by_machined == wanted ||
	    ((search->ways & WAY_UNIT) != 0 && match != NSPAWN_NAME_DIFFERS &&
	    unit_names_have(&candidate->unit_names, wanted->name)) ||
	    ((search->ways & WAY_SUPERVISOR) != 0 &&
	    match == NSPAWN_NAME_MATCHES);
}

/* True if the unit's name alone makes the candidate one that is wanted. */
static bool
candidate_matters(const struct search *search,
    const struct candidate *candidate)
{
	for (size_t i = 0; i < search->count; i++)
		if (search->wanted[i].sought &&
		    candidate_has_name(search, candidate, &search->wanted[i],
		    NSPAWN_NAME_UNKNOWN))
			return true;
	return search->take != NULL;
}

/* True if a command line names a machine that is wanted. */
static bool
args_matter(const struct search *search, const struct nspawn_args *args)
{
	for (size_t i = 0; i < search->count; i++)
		if (search->wanted[i].sought &&
		    nspawn_args_name(args, search->wanted[i].name) ==
		    NSPAWN_NAME_MATCHES)
			return true;
	return false;
}

/* What a child reads for its parent; both share this memory. */
struct args_reading {
	int			proc;
	pid_t			pid;
	int			error;
	struct nspawn_args	args;
};

static void
args_work(void *argument)
{
	struct args_reading *reading = argument;

	reading->error = nspawn_args_read(reading->proc, reading->pid,
	    &reading->args) == -1 ? errno : 0;
}

/* For reading what other users can hold up, ms: in all, then for each one. */
#define FOREIGN_TIME	500
#define FOREIGN_TIME_EACH	2

/*
 * Reads the command line of another user's process, in a child with a deadline.
 * That user can make the reading block for ever, or the text very long.
 * errors   EACCES  when it takes too long
 */
static int
args_read_bounded(const struct search *search, pid_t pid,
    struct nspawn_args *args)
{
	struct machined *machined = search->machined;
	struct args_reading *reading = shared_map(sizeof(*reading));
	struct process child = PROCESS_NONE;
	struct pollfd ended = { .events = POLLIN };
	int n = -1, left, status;

	/* It may be the parent of many. */
	if (pid == machined->foreign_blocked)
		errno = EACCES;
	if (pid == machined->foreign_blocked || reading == NULL)
		goto out;
	*reading = (struct args_reading){ search->host->proc, pid,
	    .error = EIO };
	if (machined->foreign_deadline == 0)
		machined->foreign_deadline = deadline_in(FOREIGN_TIME);
	left = deadline_left(machined->foreign_deadline);
	n = child_start(args_work, reading, &child);
	if (n == 0) {
		ended.fd = child.fd;
		if (poll(&ended, 1, left < FOREIGN_TIME_EACH ?
		    FOREIGN_TIME_EACH : left) == 1) {
			child_wait(child.pid, &status);
			errno = reading->error;
		} else {
			process_signal(&child, SIGKILL);
			machined->foreign_blocked = pid;
			errno = EACCES;
		}
		n = errno == 0 ? 0 : -1;
		*args = reading->args;
	}
out:
	process_close(&child);
	shared_unmap(reading, sizeof(*reading));
	return n;
}

/* Reads what makes the candidate's parent a supervisor, if it is one. */
static int
candidate_supervisor(const struct search *search, struct candidate *candidate)
{
	int proc = search->host->proc, nspawn;
	pid_t pid = candidate->parent.pid;

	if (process_parent(search->host, &candidate->parent,
	    &candidate->grandparent, &candidate->owner) == -1)
		return -1;
	nspawn = process_is_nspawn(proc, pid);
	if (nspawn == -1 || (nspawn == 1 && (candidate->owner == 0 ||
	    candidate->owner == geteuid() ?
	    nspawn_args_read(proc, pid, &candidate->args) :
	    args_read_bounded(search, pid, &candidate->args)) == -1))
		return -1;
	candidate->supervised = nspawn == 1;
	/* The parent does not matter: it is not kept open. */
	if (!candidate->hidden && !candidate_matters(search, candidate) &&
	    (nspawn == 0 || !args_matter(search, &candidate->args))) {
		process_close(&candidate->parent);
		candidate->supervised = false;
		return 0;
	}
	return process_alive(&candidate->parent) ? 0 : -1;
}

/*
 * While a leader still runs systemd-nspawn's own program, its parent may be a
 * systemd-nspawn that only prepares it.  Then the grandparent is the
 * supervisor, and becomes the candidate's parent here.
 */
static int
candidate_grandparent(const struct search *search, struct candidate *candidate)
{
	struct process preparer = candidate->parent;
	int n;

	if (!candidate->supervised ||
	    strcmp(candidate->status.name, NSPAWN) != 0 ||
	    process_is_nspawn(search->host->proc, candidate->grandparent) != 1)
		return 0;
	candidate->parent = PROCESS_NONE;
	candidate->supervised = false;
	n = process_open(candidate->grandparent, &candidate->parent);
	if (n == 0)
		n = candidate_supervisor(search, candidate);
	if (n == 0 && !process_alive(&preparer))
		n = -1;
	process_close(&preparer);
	return n;
}

/*
 * Reads the leader's parent, which is the supervisor if it is a systemd-nspawn.
 * Returns  0; 1 when the leader has got another parent in the meantime; -1
 */
static int
candidate_parent(const struct search *search, struct candidate *candidate)
{
	pid_t pid = candidate->status.ppid;
	uid_t uid;
	int n;

	if (pid == 0)		/* it is outside of our pid namespace */
		return 0;
	n = process_open(pid, &candidate->parent);
	if (n == 0)
		n = candidate_supervisor(search, candidate);
	if (n == 0)
		n = candidate_grandparent(search, candidate);
	if (n == 0 && candidate->parent.fd == -1)
		return 0;
	if ((n == -1 && !error_is_gone(errno)) ||
	    process_parent(search->host, &candidate->leader,
	    &candidate->status.ppid,
	    &uid) == -1)
		return -1;
	if (n == 0 && candidate->status.ppid == pid)
		return 0;
	process_close(&candidate->parent);
	candidate->supervised = false;
	return 1;
}

#define LINUX_NS_GET_OWNER_UID	_IO(0xb7, 0x4)

/*
 * Finds the owner of the machine: the supervisor's user or, without a
 * supervisor, the user who made the leader's user namespace.  Only root can
 * make a machine without a user namespace.
 */
static int
candidate_owner(const struct search *search, struct candidate *candidate)
{
	int fd, n = 0;

	if (candidate->supervised)
		return 0;
	if (namespace_open(search->host->proc, candidate->leader.pid, "ns/user",
	    true, &fd) == -1)
		return -1;
	candidate->owner = 0;
	if (fd != -1)
		n = ioctl(fd, LINUX_NS_GET_OWNER_UID, &candidate->owner);
	fd_close(&fd);
	return n;
}

/*
 * Keeps the candidate's machine as the one that is wanted.  A machine of root
 * or the caller replaces one of another user, and never the other way round.
 */
static void
wanted_add(struct search *search, struct wanted *wanted,
    const struct candidate *candidate)
{
	struct machine *found = &wanted->machine;
	struct machine machine = { candidate->leader, PROCESS_NONE,
	    candidate->owner, candidate->status };

	if (found->leader.fd != -1 &&
	    (!machine_foreign(found) || machine_foreign(&machine))) {
		if (found->leader.pid != machine.leader.pid &&
		    machine_foreign(found) == machine_foreign(&machine)) {
			wanted->pids[0] = found->leader.pid;
			wanted->pids[1] = machine.leader.pid;
		}
		return;
	}
	/* Copies: the same machine may be wanted under another name, too. */
	if (process_copy(&candidate->leader, &machine.leader) == -1 ||
	    (candidate->supervised &&
	    process_copy(&candidate->parent, &machine.supervisor) == -1))
		search->error = errno;
	else if (machine.leader.fd > search->fd_max ||
	    machine.supervisor.fd > search->fd_max) {
		machine_close(&machine);
		wanted->sought = false;
		wanted->error = EMFILE;
	}
	machine_close(found);
	*found = machine;
	wanted->pids[1] = 0;
}

/*
 * Keeps the candidate's machine for each wanted machine that it is.
 * errors   ENAMETOOLONG  when its unit, and so its name, is hidden
 */
static int
candidate_add(struct search *search, const struct candidate *candidate)
{
	bool hides = false;

	for (size_t i = 0; i < search->count; i++) {
		struct wanted *wanted = &search->wanted[i];
		enum nspawn_name match = candidate->supervised ?
		    nspawn_args_name(&candidate->args, wanted->name) :
		    NSPAWN_NAME_UNKNOWN;

		if (!wanted->sought)
			continue;
		if (candidate_has_name(search, candidate, wanted, match))
			wanted_add(search, wanted, candidate);
		else if (candidate->hidden && match == NSPAWN_NAME_UNKNOWN)
			hides = true;
	}
	errno = ENAMETOOLONG;
	return hides ? -1 : 0;
}

/*
 * Passes the candidate's machine to search->take.  A PID 1 without a
 * systemd-nspawn and without a unit named after a machine is not a machine's.
 */
static void
candidate_list(const struct search *search, const struct candidate *candidate)
{
	struct machine_line line = { .leader = candidate->leader.pid,
	    .supervisor = candidate->supervised ? candidate->parent.pid : 0,
	    .owner = candidate->owner };
	const char *unit = path_base(candidate->unit);
	const char *name = unit_names_first(&candidate->unit_names);

	if (!candidate->supervised && *name == '\0')
		return;
	if (ends_with(unit, ".scope") || ends_with(unit, ".service"))
		text_copy(unit, line.unit, sizeof(line.unit));
	for (char *byte = line.unit; *byte != '\0'; byte++)
		if (*byte <= ' ' || *byte > '~')	/* not systemd's */
			*byte = '?';
	if (!candidate->supervised ||
	    !args_own_name(&candidate->args, line.name))
		text_copy(name, line.name, sizeof(line.name));
	search->take(search->argument, &line);
}

/* Tries while the parent of a process ends each time it is read. */
#define PARENTS_MAX	16

/*
 * Reads a process.  If it is the leader of a machine that is looked for, this
 * keeps the machine.
 * errors   as candidate_leader()
 */
static int
candidate_check(struct search *search, pid_t pid, struct candidate *candidate)
{
	bool matters;
	int n = 1;

	if (candidate_leader(search, pid, candidate) == -1 ||
	    ((search->ways & WAY_UNIT) != 0 &&
	    candidate_unit(search, candidate) == -1))
		return -1;
	matters = candidate_matters(search, candidate);
	for (int tries = 0; n == 1 && tries < PARENTS_MAX; tries++)
		n = candidate_parent(search, candidate);
	if (n == 1)
		errno = ESTALE;
	if (n != 0)
		return -1;
	/* Its owner is not needed, and we may not be allowed to read that. */
	if (!matters && candidate->parent.fd == -1 && !candidate->hidden)
		return 0;
	if (candidate_owner(search, candidate) == -1 ||
	    !process_alive(&candidate->leader))
		return -1;
	if (search->take == NULL)
		return candidate_add(search, candidate);
	candidate_list(search, candidate);
	return 0;
}

/* ---- search: by unit, process and machinectl ----------------------- */

/*
 * Keeps an error.  After one that concerns a single process the search goes on;
 * one that concerns the caller, such as too few descriptors, ends the search.
 */
static void
search_failed(struct search *search, int error)
{
	if (error == EACCES || error == EPERM || error == ENAMETOOLONG ||
	    error == ESTALE || error == EINVAL || error == EOWNERDEAD)
		search->incomplete = error;
	else if (!error_is_gone(error) && error != ENOTSUP)
		search->error = error;
}

/*
 * Reads a process in the search for machines.
 * Returns  true if it is the leader of a machine of any name
 */
static bool
search_check(struct search *search, pid_t pid)
{
	struct candidate candidate = { .leader = PROCESS_NONE,
	    .parent = PROCESS_NONE };
	int error;

	if (candidate_check(search, pid, &candidate) == -1) {
		error = errno;
		/* Other errors mean nothing if the process has ended. */
		if (candidate.leader.fd != -1 &&
		    !process_alive(&candidate.leader))
			error = errno;
		search_failed(search, error);
	}
	candidate_close(&candidate);
	return candidate.is_leader;
}

#define CGROUP_PROCS_SIZE	4096	/* the beginning of a cgroup.procs */

/*
 * Checks the processes of one cgroup until one is a leader.  The leader joined
 * before all others, so it is at the beginning of the list, however long that
 * is.
 * Returns  true if the leader of a machine is there
 */
static bool
cgroup_try(struct search *search, int dir, const char *path)
{
	char text[CGROUP_PROCS_SIZE], *next = text;
	uint64_t pid;

	if (file_read(dir, path, text, sizeof(text)) == -1 && errno != EFBIG) {
		/* A machine can make its cgroup unreadable: /proc decides. */
		if (errno != ENODEV && errno != EOPNOTSUPP && errno != EACCES)
			search_failed(search, errno);
		return false;
	}
	for (const char *line; search->error == 0 &&
	    (line = strsep(&next, "\n")) != NULL;)
		/* 0 is a process outside of our pid namespace. */
		if (number_parse(line, INT_MAX, &pid) == 0 && pid != 0 &&
		    search_check(search, (pid_t)pid))
			return true;
	return false;
}

/* Checks the processes of a unit that is named after a machine. */
static void
unit_try(struct search *search, int dir, const char *unit)
{
	/* Where nspawn puts PID 1, and where a systemd there moves to. */
	static const char *const folders[] = {
		"payload", "payload/init.scope"
	};
	char path[PATH_MAX + 64];

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		text_format(path, sizeof(path), "%s/%s/cgroup.procs", unit,
		    folders[i]);
		if (cgroup_try(search, dir, path))
			return;
	}
	text_format(path, sizeof(path), "%s/payload", unit);
	/* The leader may be in another cgroup of the payload. */
	if (file_exists(dir, path) == 0 || !error_is_gone(errno))
		search->missed = true;
}

/* True if a folder has the name of a unit of a machine that is looked for. */
static bool
folder_matters(const struct search *search, const char *folder)
{
	struct unit_names found;

	unit_names_find(folder, &found);
	for (size_t i = 0; i < search->count; i++)
		if (search->wanted[i].sought &&
		    unit_names_have(&found, search->wanted[i].name))
			return true;
	return false;
}

/*
 * Checks the units that are named after a machine, in a slice and in the slices
 * below it.  The number of '-' in the name of a slice limits how deep slices
 * are nested, see systemd.slice(5).
 */
static void
slice_try(struct search *search, int dir, const char *path)
{
	const struct linux_dirent64 *entry;
	struct directory slice;

	if (directory_open(dir, path, &slice) == -1) {
		if (errno == EACCES)
			search->missed = true;
		else
			search_failed(search, errno);
		return;
	}
	if (directory_is_leaf(&slice)) {
		directory_close(&slice);
		return;
	}
	while (search->error == 0 && (entry = directory_next(&slice)) != NULL) {
		const char *unit = entry->name;

		/* The name of a unit's folder never begins with a dot. */
		if (entry->type != LINUX_DT_DIR || unit[0] == '.')
			continue;
		if (part_is_slice(unit, strlen(unit)))
			slice_try(search, slice.fd, unit);
		else if (folder_matters(search, unit))
			unit_try(search, slice.fd, unit);
	}
	if (search->error == 0 && errno != 0)
		search_failed(search, errno);
	directory_close(&slice);
}

/* True if the search is to end: at its deadline, or after an error. */
static bool
search_is_over(struct search *search)
{
	if (search->error == 0 && search->machined->search != 0 &&
	    deadline_left(search->machined->search) == 0)
		search->error = ETIME;
	return search->error != 0;
}

/*
 * Checks all processes but those in the caller's own pid namespace, and those
 * in the namespace of the leader that was found last.
 */
static void
proc_try(struct search *search)
{
	uint64_t own, last = 0;
	int proc = search->host->proc;
	bool known = namespace_id(proc, 0, "ns/pid", &own) == 0;
	struct directory dir;
	pid_t pid;

	if (directory_open(proc, ".", &dir) == -1) {
		search->error = errno;
		return;
	}
	while (!search_is_over(search) && (pid = proc_next(&dir)) != 0) {
		uint64_t theirs = 0;

		/* Nothing else about a process is read as fast as this. */
		if (known && namespace_id(proc, pid, "ns/pid", &theirs) == 0 &&
		    (theirs == own || theirs == last))
			continue;
		if (search_check(search, pid))
			last = theirs;
	}
	if (search->error == 0)
		search->error = errno;
	directory_close(&dir);
}

/*
 * Begins to search by other ways.  It opens the machines that were not yet
 * found; or all, if the last search may have missed a second one of a name.
 * Returns  false if nothing is left to be searched
 */
static bool
search_begin(struct search *search, unsigned ways)
{
	bool any = false;

	if (search->error != 0)
		return false;
	search->ways = ways;
	for (size_t i = 0; i < search->count; i++) {
		struct wanted *wanted = &search->wanted[i];

		wanted->sought = wanted->error == 0 && (search->missed ||
		    wanted->machine.leader.fd == -1 ||
		    machine_foreign(&wanted->machine));
		any = any || wanted->sought;
	}
	return any;
}

/*
 * Searches the units that are named after the machines.  systemd puts units
 * only directly into slices, so the hierarchy shows all of them.
 */
static void
find_by_unit(struct search *search)
{
	if (!search_begin(search, WAY_UNIT))
		return;
	search->missed = search->host->cgroup == -1;
	if (!search->missed)
		slice_try(search, search->host->cgroup, ".");
}

/*
 * Searches all processes for leaders that are in such a unit but were not found
 * there, and for those whose supervisor's command line names the machine.
 */
static void
find_in_proc(struct search *search)
{
	if (search_begin(search, WAY_UNIT | WAY_SUPERVISOR))
		proc_try(search);
	search->missed = false;
}

/* Asks machinectl.  If it cannot answer, another way may find the machine. */
static void
find_by_machined(struct search *search)
{
	struct machined *machined = search->machined;
	int left = deadline_left(machined->search);
	pid_t pid;

	if (!search_begin(search, WAY_MACHINED))
		return;
	for (size_t i = 0; search->error == 0 && i < search->count; i++) {
		struct candidate candidate = { .leader = PROCESS_NONE,
		    .parent = PROCESS_NONE };
		struct wanted *wanted = &search->wanted[i];

		if (!wanted->sought)
			continue;
		if (machined_leader(wanted->name, machined, &pid) == -1) {
			if (errno != ESRCH)
				search->incomplete = errno;
			continue;
		}
		search->by_machined = wanted;
		if (candidate_check(search, pid, &candidate) == -1 &&
		    !error_is_gone(errno)) {
			wanted->pids[0] = pid;
			wanted->error = errno;
		}
		candidate_close(&candidate);
	}
	search->by_machined = NULL;
	/* The time of machinectl does not count for the search. */
	if (machined->search != 0 && left != -1)
		machined->search = deadline_in(left);
}

/* ---- search: the nearest names ------------------------------------- */

/*
 * Counts the letters to be changed, added or removed to turn one name into the
 * other, ignoring case: Levenshtein's distance.  Above WANTED_DISTANCE the
 * result may be too small, but it is above WANTED_DISTANCE, too.
 */
static unsigned
names_distance(const char *a, const char *b)
{
	unsigned row[MACHINE_NAME_MAX + 1], length = (unsigned)strlen(b);
	unsigned least = 0;	/* the result is at least this */

	for (unsigned j = 0; j <= length; j++)
		row[j] = j;
	for (; *a != '\0' && least <= WANTED_DISTANCE; a++) {
		unsigned corner = row[0]++;

		least = row[0];
		for (unsigned j = 1; j <= length; j++) {
			unsigned above = row[j];
			unsigned best = corner +
			    (strncasecmp(a, &b[j - 1], 1) != 0);

			if (best > above + 1)
				best = above + 1;
			if (best > row[j - 1] + 1)
				best = row[j - 1] + 1;
			row[j] = best;
			corner = above;
			if (least > best)
				least = best;
		}
	}
	return *a == '\0' ? row[length] : least;
}

/* Keeps the name of a running machine if it is near the wanted one. */
static void
wanted_near(struct wanted *wanted, const char *name)
{
	char asked[MACHINE_NAME_MAX + 1];
	bool scope = ends_with(wanted->name, ".scope");
	unsigned distance;
	size_t i = 0;

	/* The wanted name may be the name of a unit. */
	text_copy(wanted->name + (scope && begins_with(wanted->name,
	    MACHINE_PREFIX) ? sizeof(MACHINE_PREFIX) - 1 : 0), asked,
	    sizeof(asked));
	if (scope || ends_with(asked, ".service"))
		*strrchr(asked, '.') = '\0';
	distance = names_distance(asked, name);
	if (distance > WANTED_DISTANCE || distance > strlen(asked) / 2)
		return;
	/* A nearer name replaces those that were kept. */
	if (distance < wanted->near_distance || wanted->near[0][0] == '\0')
		memset(wanted->near, 0, sizeof(wanted->near));
	else if (distance > wanted->near_distance)
		return;
	wanted->near_distance = distance;
	while (i < WANTED_NEAR && wanted->near[i][0] != '\0')
		if (strcmp(wanted->near[i++], name) == 0)
			return;
	if (i < WANTED_NEAR)
		text_copy(name, wanted->near[i], sizeof(wanted->near[i]));
}

/* Keeps the name in a supervisor's command line where a wanted one is near. */
static void
search_near(struct search *search, const struct nspawn_args *args)
{
	char name[MACHINE_NAME_MAX + 1];

	if (!args_own_name(args, name))
		return;
	/* A name that was given exactly needs no hint. */
	for (size_t i = 0; i < search->count; i++)
		if (strcmp(search->wanted[i].name, name) == 0)
			return;
	for (size_t i = 0; i < search->count; i++)
		if (search->wanted[i].sought)
			wanted_near(&search->wanted[i], name);
}

/* ---- search: finding machines -------------------------------------- */

/*
 * Opens a process if it is a supervisor whose command line names a machine that
 * is looked for.  A child of a systemd-nspawn that prepares a leader is not a
 * supervisor.
 * errors   ESRCH  when it is something else, or has ended
 */
static int
candidate_nspawn(struct search *search, pid_t pid, struct candidate *candidate)
{
	int proc = search->host->proc;
	int n = process_is_nspawn(proc, pid);

	if (n == 1)
		n = namespace_same(proc, pid, "ns/pid");
	if (n != 1) {
		/* What a machine can make unreadable is not a supervisor. */
		if (n == 0 || !error_is_temporary(errno))
			errno = ESRCH;
		return -1;
	}
	if (process_open(pid, &candidate->parent) == -1 ||
	    process_parent(search->host, &candidate->parent,
	    &candidate->grandparent, &candidate->owner) == -1)
		return -1;
	/* Any user can run a program of that name. */
	if (candidate->owner != 0 && candidate->owner != geteuid()) {
		errno = ESRCH;
		return -1;
	}
	if (nspawn_args_read(proc, pid, &candidate->args) == -1 ||
	    !process_alive(&candidate->parent))
		return -1;
	search_near(search, &candidate->args);
	if (args_matter(search, &candidate->args) &&
	    process_is_nspawn(proc, candidate->grandparent) != 1)
		return 0;
	errno = ESRCH;
	return -1;
}

/* Keeps the candidate's supervisor for wanted machines without a leader. */
static void
supervisor_add(struct search *search, const struct candidate *candidate)
{
	for (size_t i = 0; i < search->count; i++) {
		struct wanted *wanted = &search->wanted[i];
		struct machine *machine = &wanted->machine;

		if (!wanted->sought || machine->leader.fd != -1 ||
		    machine->supervisor.fd != -1 || nspawn_args_name(
		    &candidate->args, wanted->name) != NSPAWN_NAME_MATCHES)
			continue;
		machine->owner = candidate->owner;
		if (process_copy(&candidate->parent, &machine->supervisor) ==
		    -1)
			search->error = errno;
	}
}

/*
 * Searches machines that have a supervisor and no leader: they are starting for
 * the first time or again.
 */
static void
find_starting(struct search *search)
{
	struct directory dir;
	pid_t pid;

	if (!search_begin(search, WAY_SUPERVISOR))
		return;
	if (directory_open(search->host->proc, ".", &dir) == -1) {
		search->error = errno;
		return;
	}
	while (!search_is_over(search) && (pid = proc_next(&dir)) != 0) {
		struct candidate candidate = { .leader = PROCESS_NONE,
		    .parent = PROCESS_NONE };

		if (candidate_nspawn(search, pid, &candidate) == 0)
			supervisor_add(search, &candidate);
		else
			search_failed(search, errno);
		candidate_close(&candidate);
	}
	if (search->error == 0)
		search->error = errno;
	directory_close(&dir);
}

/* Sets the error of a machine, and closes it if the caller does not get it. */
static void
wanted_end(const struct search *search, struct wanted *wanted)
{
	/* An error of the search does not undo what was found before. */
	if (search->error != 0 && wanted->sought)
		wanted->error = search->error;
	else if (wanted->pids[1] != 0)
		wanted->error = ENOTUNIQ;
	else if (wanted->error == 0 && wanted->machine.leader.fd == -1)
		wanted->error = wanted->machine.supervisor.fd != -1 ? EAGAIN :
		    search->incomplete != 0 ? search->incomplete : ESRCH;
	if (wanted->error != 0 && wanted->error != EAGAIN)
		machine_close(&wanted->machine);
}

int
machine_find(const struct host *host, const char *name,
    struct machined *machined, struct machine *machine, pid_t pids[2])
{
	struct wanted wanted = { .name = name };

	machines_find(host, machined, &wanted, 1, 0);
	if (wanted.error == 0) {
		*machine = wanted.machine;
		return 0;
	}
	machine_close(&wanted.machine);
	memcpy(pids, wanted.pids, sizeof(wanted.pids));
	errno = wanted.error;
	return -1;
}

/* machinectl takes as long as reading so many processes: about 4 ms. */
#define SCAN_MAX	1000

/*
 * True if reading all processes takes longer than asking machined for each
 * machine that was not found.
 */
static bool
machined_is_faster(const struct search *search)
{
	size_t left = 0;
	struct stat st;

	for (size_t i = 0; i < search->count; i++)
		left += search->wanted[i].machine.leader.fd == -1;
	/* The number of links of /proc grows with each process. */
	return fstat(search->host->proc, &st) == 0 &&
	    st.st_nlink > SCAN_MAX * left;
}

void
machines_find(const struct host *host, struct machined *machined,
    struct wanted *wanted, size_t count, size_t fds_kept)
{
	struct search search = { .host = host, .machined = machined,
	    .wanted = wanted, .count = count };
	struct rlimit limit = { 0, 0 };
	bool ask_first;

	prlimit(0, RLIMIT_NOFILE, NULL, &limit);
	search.fd_max = limit.rlim_cur > INT_MAX ? INT_MAX :
	    (int)(limit.rlim_cur - fds_kept) - 1;
	for (size_t i = 0; i < count; i++)
		wanted[i] = (struct wanted){ .name = wanted[i].name,
		    .machine = MACHINE_NONE, .sought = true };
	find_by_unit(&search);
	ask_first = !search.missed && machined_is_faster(&search);
	if (ask_first)
		find_by_machined(&search);
	find_in_proc(&search);
	if (!ask_first)
		find_by_machined(&search);
	find_starting(&search);
	for (size_t i = 0; i < count; i++)
		wanted_end(&search, &wanted[i]);
}

const char *
wanted_hint(const struct wanted *wanted, char *text, size_t size)
{
	const char (*near)[MACHINE_NAME_MAX + 1] = wanted->near;
	size_t used = 0;

	*text = '\0';
	for (int i = 0; wanted->error == ESRCH && i < WANTED_NEAR &&
	    near[i][0] != '\0'; i++)
		used += text_format(text + used, size - used, "%s%s",
		    i == 0 ? "; did you mean " : i + 1 < WANTED_NEAR &&
		    near[i + 1][0] != '\0' ? ", " : " or ", near[i]);
	if (used > 0)
		text_format(text + used, size - used, "?");
	return text;
}

int
machines_list(const struct host *host, int64_t deadline,
    void (*take)(void *argument, const struct machine_line *line),
    void *argument)
{
	struct machined machined = { .search = deadline };
	struct search search = { .host = host, .machined = &machined,
	    .ways = WAY_UNIT, .take = take, .argument = argument };

	proc_try(&search);
	errno = search.error != 0 ? search.error : search.incomplete;
	return search.error != 0 ? -1 : search.incomplete != 0;
}

int
machine_again(const struct host *host, const struct machine *old,
    struct machine *machine)
{
	const struct process *supervisor = &old->supervisor;
	struct search search = { .host = host };
	char path[2 * PROC_PATH_SIZE], word[NUMBER_SIZE];
	struct stream stream;
	uint64_t pid;
	int n = -1;

	text_format(path, sizeof(path), "%d/task/%d/children",
	    supervisor->pid, supervisor->pid);
	if (stream_open(host->proc, path, &stream) == -1)
		return -1;
	while (n == -1 &&
	    stream_word(&stream, " ", word, sizeof(word)) != -1) {
		struct candidate candidate = { .leader = PROCESS_NONE,
		    .parent = PROCESS_NONE };

		if (number_parse(word, INT_MAX, &pid) == 0 &&
		    candidate_leader(&search, (pid_t)pid, &candidate) == 0 &&
		    candidate.status.ppid == supervisor->pid &&
		    process_alive(&candidate.leader) &&
		    process_alive(supervisor)) {
			*machine = (struct machine){ candidate.leader,
			    PROCESS_NONE, old->owner, candidate.status };
			candidate.leader = PROCESS_NONE;
			n = process_copy(supervisor, &machine->supervisor);
		}
		candidate_close(&candidate);
	}
	stream_close(&stream);
	return n;
}

const char *
machine_strerror(int error, const pid_t pids[2], char *text, size_t size)
{
	switch (error) {
	case ESRCH:
		text_format(text, size, "is not running");
		break;
	case EAGAIN:
		text_format(text, size, "is starting, restarting or ending: it"
		    " has a systemd-nspawn, but no leader");
		break;
	case ETIME:
		text_format(text, size, "cannot tell whether it is running: "
		    "no time was left to read all processes");
		break;
	case ETIMEDOUT:
		text_format(text, size, "cannot tell whether it is running: "
		    "/proc does not show it, and machinectl did not answer");
		break;
	case ENOTUNIQ:
		text_format(text, size, "two machines have this name: "
		    "their leaders are %d and %d", pids[0], pids[1]);
		break;
	case ENOTSUP:
		text_format(text, size, "is not a container: its leader %d is "
		    "in the host's PID namespace", pids[0]);
		break;
	case ENOSYS:
		text_format(text, size, "cannot open its leader: "
		    "pidfd_open(2) needs Linux 5.3 or later");
		break;
	default:
		text_format(text, size, "cannot find its leader: %s",
		    strerror(error));
	}
	return text;
}

/* ---- init ---------------------------------------------------------- */

#define BUSYBOX	"busybox"

/*
 * True if a command line consists of word and then argument; an empty one
 * stands for any.  Before word a folder, the '-' of a login shell, and the name
 * of busybox (or busybox.static and the like) are skipped.
 *   line     the first words, each ended with a NUL
 */
static bool
words_are(const char *line, const char *word, const char *argument)
{
	const char *first = path_base(line + (*line == '-')), *second;

	if (strncmp(first, BUSYBOX, sizeof(BUSYBOX) - 1) == 0)
		first = path_base(first + strlen(first) + 1);
	second = first + strlen(first) + 1;
	return (*word == '\0' || strcmp(first, word) == 0) &&
	    (*argument == '\0' || strcmp(second, argument) == 0);
}

/* What is read to tell which init a leader is. */
struct leader_facts {
	char			 path[PATH_MAX];
	const char		*program;	/* points into path; or NULL */
	char			 line[PATH_MAX + 3];	/* of its command */
	struct process_status	 status;
};

/*
 * Reads the facts of a leader.
 * errors   ESRCH  when it has ended
 */
static int
leader_facts_read(int proc, const struct process *leader,
    struct leader_facts *facts)
{
	facts->program = NULL;
	memset(facts->line, 0, sizeof(facts->line));
	/* ENOENT: its first thread has ended.  ENAMETOOLONG: a long path. */
	if (process_exe(proc, leader->pid, facts->path, &facts->program) ==
	    -1 && errno != ENOENT && errno != ENAMETOOLONG)
		return -1;
	/* EFBIG: only the beginning of the command line is needed. */
	if (proc_read(proc, leader->pid, "cmdline", facts->line, PATH_MAX) ==
	    -1 && errno != EFBIG && errno != ENOENT)
		return -1;
	if (process_status_read(proc, leader->pid, &facts->status) == -1) {
		if (errno == ENOENT)
			errno = ESRCH;
		return -1;
	}
	return process_alive(leader) ? 0 : -1;
}

/* True if text is in bytes, which may contain NULs. */
static bool
bytes_contain(const char *bytes, size_t length, const char *text)
{
	const char *end = bytes + length, *next = bytes;
	size_t size = strlen(text);

	while ((size_t)(end - next) >= size && (next = memchr(next, *text,
	    (size_t)(end - next) - size + 1)) != NULL) {
		if (memcmp(next, text, size) == 0)
			return true;
		next++;
	}
	return false;
}

/* Inits that are recognised by a text in their program, whatever its name. */
static const struct {
	char	program[12], text[20];	/* with their NULs */
} programs[] = {
	{ BUSYBOX, "BusyBox v" },
	{ "systemd", "systemd.crash_chvt" },
	{ "finit", "finit.conf" },
	{ "runit", "- runit: " },
};

#define PROGRAMS	(sizeof(programs) / sizeof(programs[0]))

#define PROGRAM_SIZE	sizeof(programs[0].program)

#define PROGRAM_MAX	4194304	/* bytes of a program that are read */

/* Recognises a program by the text in its file; empty: none of programs. */
static int
program_read(int fd, char program[PROGRAM_SIZE])
{
	const size_t tail = sizeof(programs[0].text);
	size_t filled = 0, total = 0;
	char buffer[65536];
	struct stat st;
	ssize_t n = 0;

	program[0] = '\0';
	if (fstat(fd, &st) == -1)
		return -1;
	if (!S_ISREG(st.st_mode))
		return 0;
	while (program[0] == '\0' && total < PROGRAM_MAX && (n = read(fd,
	    buffer + filled, sizeof(buffer) - filled)) > 0) {
		total += (size_t)n;
		filled += (size_t)n;
		for (size_t i = 0; i < PROGRAMS; i++)
			if (bytes_contain(buffer, filled, programs[i].text))
				text_copy(programs[i].program, program,
				    PROGRAM_SIZE);
		if (filled > tail) {	/* the next read may complete a text */
			memmove(buffer, buffer + filled - tail, tail);
			filled = tail;
		}
	}
	return n == -1 ? -1 : 0;
}

/* Recognises the program of a leader in the same way. */
static int
program_find(int proc, const struct process *leader,
    char program[PROGRAM_SIZE])
{
	char path[PROC_PATH_SIZE];
	int fd = openat(proc, proc_path(path, leader->pid, "exe"),
	    O_RDONLY | O_NONBLOCK | O_CLOEXEC), n;

	program[0] = '\0';
	if (fd == -1)	/* it has ended, or we may not read it */
		return error_is_temporary(errno) ? -1 : 0;
	n = program_read(fd, program);
	fd_close(&fd);
	return n;
}

/*
 * The inits, by the name of their program.  Where a program can also be
 * something else, the first or second word of the command line decides; where
 * releases differ, a signal that is caught and one that is not.  An init that
 * is not here stops by TERM, or not at all.  The first row that fits counts.
 */
static const struct {
	/* These with their NULs. */
	char		program[15];
	char		word[14];	/* the first word; empty: any */
	char		argument[4];	/* the next word; empty: any */
	uint8_t		caught;		/* a signal it catches; 0: any */
	uint8_t		uncaught;	/* one it does not catch; 0: any */
	struct init	init;
} inits[] = {
	{ .program = "systemd",
	    .init = { "systemd", STOP_BY_SIGNAL, SIGNAL_RTMIN + 4 } },
	{ .program = NSPAWN, .word = "(sd-stubinit)",
	    .init = { "systemd-nspawn's stub", STOP_BY_SIGNAL,
	    SIGNAL_RTMIN + 4 } },
	{ .program = "runit", .caught = SIGPWR,
	    .init = { "runit", STOP_BY_SIGNAL, SIGPWR } },
	{ .program = "runit", .caught = SIGCONT,
	    .init = { "runit", STOP_BY_COMMAND, SIGTERM } },
	{ .program = "runsvdir",
	    .init = { "runsvdir", STOP_UNCLEAN, SIGTERM } },
	{ .program = BUSYBOX, .word = "runsvdir",
	    .init = { "busybox runsvdir", STOP_UNCLEAN, SIGTERM } },
	{ .program = BUSYBOX, .word = "init",
	    .init = { "busybox init", STOP_BY_SIGNAL, SIGUSR2 } },
	{ .program = BUSYBOX, .word = "linuxrc",
	    .init = { "busybox init", STOP_BY_SIGNAL, SIGUSR2 } },
	{ .program = "init", .caught = SIGNAL_RTMIN + 4, .uncaught = SIGTERM,
	    .init = { "sysvinit", STOP_BY_SIGNAL, SIGNAL_RTMIN + 4 } },
	{ .program = "init", .caught = SIGPWR, .uncaught = SIGTERM,
	    .init = { "sysvinit", STOP_BY_COMMAND, SIGTERM } },
	{ .program = "openrc-init",
	    .init = { "openrc-init", STOP_BY_SIGNAL, SIGTERM } },
	{ .program = "s6-svscan", .argument = "-X3",
	    .init = { "s6-linux-init", STOP_BY_SIGNAL, SIGUSR1 } },
	{ .program = "s6-svscan",
	    .init = { "s6-svscan", STOP_BY_SIGNAL, SIGTERM } },
	{ .program = "finit",
	    .init = { "finit", STOP_BY_SIGNAL, SIGUSR2 } },
	{ .program = "procd",
	    .init = { "procd", STOP_BY_SIGNAL, SIGUSR2 } },
	{ .program = "dinit",
	    .init = { "dinit", STOP_BY_SIGNAL, SIGTERM } },
};

#define INITS	(sizeof(inits) / sizeof(inits[0]))

/*
 * True if the name of a program tells which init it is.  "init" does not: it is
 * the name of sysvinit and of any other init that is installed instead.
 */
static bool
program_is_known(const char *name)
{
	for (size_t i = 0; i < INITS; i++)
		if (strcmp(inits[i].program, name) == 0)
			return strcmp(name, "init") != 0;
	return false;
}

int
init_of(int proc, const struct process *leader, const struct init **init)
{
	char program[PROGRAM_SIZE];
	struct leader_facts facts;
	size_t i;

	if (leader_facts_read(proc, leader, &facts) == -1) {
		if (errno != ESRCH)
			return -1;
		facts.program = NULL;
	}
	if (facts.program != NULL && !program_is_known(facts.program)) {
		if (program_find(proc, leader, program) == -1)
			return -1;
		if (program[0] != '\0')
			facts.program = program;
	}
	for (i = facts.program == NULL ? INITS : 0; i < INITS; i++)
		if (strcmp(facts.program, inits[i].program) == 0 &&
		    words_are(facts.line, inits[i].word, inits[i].argument) &&
		    (inits[i].caught == 0 ||
		    signal_in(facts.status.caught, inits[i].caught)) &&
		    (inits[i].uncaught == 0 ||
		    !signal_in(facts.status.caught, inits[i].uncaught)))
			break;
	*init = i < INITS ? &inits[i].init : NULL;
	return 0;
}

int
init_starting(int proc, const struct process *leader, bool *starting)
{
	char path[PATH_MAX], name[PROCESS_NAME_SIZE];
	const char *program;

	*starting = false;
	/* An ended leader, or one with a very long path, is not starting. */
	if (process_exe(proc, leader->pid, path, &program) == -1)
		return error_is_gone(errno) || errno == ENAMETOOLONG ? 0 : -1;
	if (strcmp(program, NSPAWN) != 0)
		return 0;
	/* Nobody can make this block, unlike reading its command line. */
	if (proc_read(proc, leader->pid, "comm", name, sizeof(name)) == -1)
		return error_is_gone(errno) ? 0 : -1;
	*starting = strcmp(name, "(sd-stubinit)\n") != 0;
	return 0;
}

#define LINUX_RT_SIGTIMEDWAIT_TIME64	421	/* 32-bit machines: Linux 5.1 */

/*
 * Finds out whether the first thread of a process waits in rt_sigtimedwait(2),
 * even where process_waits_for_signal() cannot, but may block.
 * Returns  1 for yes, 0 for no; -1
 */
static int
process_in_sigtimedwait(int proc, pid_t pid)
{
	char text[256];
	const char *line = text;
	uint64_t call;

	if (process_waits_for_signal(proc, pid))
		return 1;
	if (proc_read(proc, pid, "syscall", text, sizeof(text)) == -1)
		return errno == ENOENT ? 0 : -1;
	return line_number(&line, &call) && (call == SYS_rt_sigtimedwait ||
	    call == LINUX_RT_SIGTIMEDWAIT_TIME64);
}

/*
 * Finds out what happens to a signal, from files that are not read in the same
 * moment.
 *   s        gets the leader's status
 */
static int
signal_fate_check(int proc, const struct process *leader, int signal,
    struct process_status *s, enum signal_fate *fate)
{
	bool uncatchable = signal == SIGKILL || signal == SIGSTOP;
	bool handled, blocked;
	int awaited = 0;

	*s = (struct process_status){ .depth = 0 };
	if (!uncatchable && process_status_read(proc, leader->pid, s) == -1)
		awaited = -1;
	handled = signal_in(s->caught, signal);
	blocked = signal_in(s->blocked, signal);
	if (awaited == 0 && !uncatchable && !handled && !blocked)
		awaited = process_in_sigtimedwait(proc, leader->pid);
	if (awaited == 0 && !process_alive(leader))
		awaited = -1;
	if (awaited == -1 && !error_is_gone(errno) && errno != EACCES &&
	    errno != EPERM)
		return -1;
	*fate = awaited != 0 || uncatchable ? FATE_UNKNOWN :
	    handled ? FATE_HANDLED : blocked ? FATE_BLOCKED : FATE_DISCARDED;
	return 0;
}

#define FATE_CHECKS	10	/* that find a signal discarded */
#define FATE_INTERVAL	5	/* ms, between them if PID 1 is in state R */

/*
 * While a process waits in rt_sigtimedwait(2), and until it runs after that,
 * the signals that it waits for are not blocked.  Then, or if the wait begins
 * or ends between two reads, a signal may seem discarded that is not, so this
 * is checked again.
 */
int
signal_fate(int proc, const struct process *leader, int signal,
    enum signal_fate *fate)
{
	struct process_status status;
	int checks = FATE_CHECKS;

	do {
		if (signal_fate_check(proc, leader, signal, &status,
		    fate) == -1)
			return -1;
	} while (*fate == FATE_DISCARDED && --checks > 0 &&
	    poll(NULL, 0, status.state == 'R' ? FATE_INTERVAL : 0) != -1);
	return 0;
}

/*
 * Finds out whether a descriptor of a process is a signalfd(2) for signal.
 *   dir      the process's fdinfo
 * Returns  1 for yes, 0 for no; -1
 */
static int
descriptor_is_signalfd(int dir, const char *name, int signal)
{
	struct stream stream;
	char word[32] = "";
	uint64_t set = 0;
	int n;

	if (stream_open(dir, name, &stream) == -1)
		return error_is_gone(errno) ? 0 : -1;
	n = line_find(&stream, "sigmask");
	if (n == 0)
		line_word(&stream, word, sizeof(word));
	stream_close(&stream);
	if (stream.error != 0 && !error_is_gone(stream.error)) {
		errno = stream.error;
		return -1;
	}
	return n == 0 && line_signals(word, &set) && signal_in(set, signal);
}

int
process_has_signalfd(int proc, const struct process *process, int signal)
{
	char path[PROC_PATH_SIZE];
	const struct linux_dirent64 *entry;
	struct directory dir;
	int n = 0;

	if (directory_open(proc, proc_path(path, process->pid, "fdinfo"),
	    &dir) == -1)
		return error_is_gone(errno) ? 0 : -1;
	while (n == 0 && (entry = directory_next(&dir)) != NULL)
		if (entry->name[0] != '.')
			n = descriptor_is_signalfd(dir.fd, entry->name, signal);
	if (n == 0 && errno != 0)
		n = -1;
	directory_close(&dir);
	return n;
}

int
machine_kill_signal(int proc, const struct machine *machine, int unit,
    int *signal)
{
	const struct process *supervisor = &machine->supervisor;
	struct nspawn_args args;
	int configured = 0, file;
	bool own;	/* unit is of a scope that systemd-nspawn made */

	if (supervisor->fd == -1 ||
	    nspawn_args_read(proc, supervisor->pid, &args) == -1 ||
	    !process_alive(supervisor)) {
		if (supervisor->fd != -1 && !error_is_gone(errno))
			return -1;
		memset(&args, 0, sizeof(args));
		args.settings = NSPAWN_SETTINGS_NONE;
	}
	if (args.kill_signal[0] != '\0')
		configured = nspawn_signal(args.kill_signal);
	own = unit != 0 && !args.keep_unit;
	if (configured != 0 && args.settings != NSPAWN_SETTINGS_OVERRIDE)
		;
	/* A scope also has one of these two if no signal was configured. */
	else if (own && unit != SIGTERM && unit != SIGNAL_RTMIN + 3)
		configured = unit;
	else {
		if (settings_read(proc, supervisor->pid, &args, &file) == -1)
			return -1;
		if (file != 0)
			configured = file;
		if (own && configured != unit)
			configured = 0;
	}
	*signal = configured == SIGKILL || configured == SIGSTOP ? -1 :
	    configured;
	return 0;
}

/* ---- confinement --------------------------------------------------- */

/* Reads oom_score_adj, see proc_pid_oom_score_adj(5). */
static int
oom_score_read(int proc, pid_t pid, int *score)
{
	char text[16];
	uint64_t n;

	if (proc_read(proc, pid, "oom_score_adj", text, sizeof(text)) == -1)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	if (number_parse(text + (*text == '-'), 1000, &n) == -1)
		return -1;
	*score = *text == '-' ? -(int)n : (int)n;
	return 0;
}

/* Reads the limits of a process; ours instead of one that we may not see. */
static int
limits_read(pid_t pid, struct confinement_limit limits[CONFINEMENT_LIMITS])
{
	for (int i = 0; i < CONFINEMENT_LIMITS; i++)
		if (syscall(SYS_prlimit64, pid, i, NULL, &limits[i]) == -1 &&
		    (errno != EPERM || syscall(SYS_prlimit64, 0, i, NULL,
		    &limits[i]) == -1))
			return -1;
	return 0;
}

#define LINUX_IOPRIO_WHO_PROCESS	1
#define LINUX_IOPRIO_CLASS_SHIFT	13

/* Reads the scheduling, priorities and processors of a process. */
static int
scheduling_read(pid_t pid, struct confinement *confinement)
{
	struct confinement_scheduling *s = &confinement->scheduling;
	long size, priority, nice;

	s->size = sizeof(*s);
	nice = syscall(SYS_getpriority, PRIO_PROCESS, pid);
	if (nice == -1 ||
	    syscall(SYS_sched_getattr, pid, s, sizeof(*s), 0) == -1)
		return -1;
	size = syscall(SYS_sched_getaffinity, pid,
	    sizeof(confinement->processors), confinement->processors);
	priority = syscall(SYS_ioprio_get, LINUX_IOPRIO_WHO_PROCESS, pid);
	if (size == -1 || priority == -1)
		return -1;
	confinement->processors_size = (size_t)size;
	/* Without a class the level means nothing, and setting it fails. */
	confinement->io_priority = priority >> LINUX_IOPRIO_CLASS_SHIFT == 0 ?
	    0 : (int)priority;
	confinement->nice = 20 - (int)nice;	/* the call returns 20 - nice */
	return 0;
}

/* Reads the personality of a process, see personality(2). */
static int
personality_read(int proc, pid_t pid, unsigned *personality)
{
	char text[16];
	uint64_t n;

	if (proc_read(proc, pid, "personality", text, sizeof(text)) == -1)
		return -1;
	if (!line_hex(text, 8, &n)) {
		errno = EINVAL;
		return -1;
	}
	*personality = (unsigned)n;
	return 0;
}

/*
 * Reads the label of a process; empty if there is no security module.
 *   pid      0 is the caller
 *   module   the folder of a module, or "" for the first module
 */
static int
label_text(int proc, pid_t pid, const char *module,
    char label[PROCESS_LABEL_SIZE])
{
	char file[32];

	text_format(file, sizeof(file), "attr/%scurrent", module);
	if (proc_read(proc, pid, file, label, PROCESS_LABEL_SIZE) == -1) {
		label[0] = '\0';
		/* EINVAL: there is no module with labels. */
		return errno == ENOENT || errno == EINVAL ? 0 : -1;
	}
	label[strcspn(label, "\n")] = '\0';
	return 0;
}

/*
 * Writes a label as it must be written to set it for the next exec.  AppArmor
 * shows "NAME (MODE)" or "unconfined" and takes "exec NAME"; other modules take
 * what they show.
 */
static int
label_for_exec(const char *shown, char label[PROCESS_LABEL_SIZE])
{
	size_t length = strlen(shown);
	const char *mode = strrchr(shown, '(');
	bool profile = mode != NULL && mode > shown && mode[-1] == ' ' &&
	    shown[length - 1] == ')';
	bool apparmor = profile || strcmp(shown, "unconfined") == 0;
	const char *prefix = apparmor ? "exec " : "";

	if (profile)
		length = (size_t)(mode - 1 - shown);
	if (strlen(prefix) + length >= PROCESS_LABEL_SIZE) {
		errno = ENAMETOOLONG;
		return -1;
	}
	text_format(label, PROCESS_LABEL_SIZE, "%s%.*s", prefix, (int)length,
	    shown);
	return 0;
}

int
process_label_read(int proc, pid_t pid, char label[PROCESS_LABEL_SIZE])
{
	static const char *const modules[] = { "", "apparmor/" };
	char own[PROCESS_LABEL_SIZE], theirs[PROCESS_LABEL_SIZE];

	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		if (label_text(proc, pid, modules[i], theirs) == -1)
			return -1;
		/* Most hosts have no module, or only one. */
		if (theirs[0] == '\0')
			break;
		if (label_text(proc, 0, modules[i], own) == -1)
			return -1;
		if (strcmp(own, theirs) != 0)
			return label_for_exec(theirs, label);
	}
	label[0] = '\0';
	return 0;
}

/* Reads what confines a process and is not in struct process_status. */
static int
confinement_read(int proc, pid_t pid, struct confinement *confinement)
{
	struct confinement *c = confinement;

	return oom_score_read(proc, pid, &c->oom_score_adj) == -1 ||
	    personality_read(proc, pid, &c->personality) == -1 ||
	    process_label_read(proc, pid, c->label) == -1 ||
	    limits_read(pid, c->limits) == -1 ||
	    scheduling_read(pid, c) == -1 ? -1 : 0;
}

#define FILTER_MAX	32768	/* instructions of all filters together */
#define FILTER_LENGTH_MAX	4096	/* of one: BPF_MAXINSNS of Linux */

/* An instruction of a seccomp filter: struct sock_filter of Linux. */
struct filter_step {
	uint16_t	code;
	uint8_t		jump_true, jump_false;
	uint32_t	value;
};

/* A process's system call filters, the oldest first. */
struct filters {
	size_t			count;
	size_t			lengths[FILTER_MAX / 5];
	struct filter_step	steps[FILTER_MAX + FILTER_LENGTH_MAX];
};

#define LINUX_PTRACE_SEIZE	0x4206
#define LINUX_PTRACE_INTERRUPT	0x4207
#define LINUX_PTRACE_DETACH	17
#define LINUX_PTRACE_GET_FILTER	0x420c

static long
sys_ptrace(long request, pid_t pid, uintptr_t address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

/* Copies the filters of a process that is stopped. */
static int
filters_copy(pid_t pid, struct filters *filters)
{
	size_t used = 0;
	long n;

	for (filters->count = 0; filters->count < FILTER_MAX / 5 &&
	    used <= FILTER_MAX; filters->count++) {
		/* There is room for a filter of FILTER_LENGTH_MAX. */
		n = sys_ptrace(LINUX_PTRACE_GET_FILTER, pid, filters->count,
		    filters->steps + used);
		if (n == -1)
			return errno == ENOENT ? 0 : -1;
		filters->lengths[filters->count] = (size_t)n;
		used += (size_t)n;
	}
	errno = E2BIG;
	return -1;
}

static int
filters_copy_seized(const struct process *process, struct filters *filters)
{
	int status = 0, error, signal = 0, n = -1;
	pid_t pid = process->pid, stopped = -1;

	/* A traced process keeps its number: the pidfd tells whose it is. */
	if (process_alive(process) &&
	    sys_ptrace(LINUX_PTRACE_INTERRUPT, pid, 0, NULL) != -1)
		do
			stopped = waitpid(pid, &status, __WALL);
		while (stopped == -1 && errno == EINTR);
	if (stopped == pid && WIFSTOPPED(status)) {
		n = filters_copy(pid, filters);
		/* It may have stopped for a signal: that is delivered. */
		if (status >> 16 == 0)
			signal = WSTOPSIG(status);
	} else if (stopped == pid)
		errno = ESRCH;
	error = errno;
	sys_ptrace(LINUX_PTRACE_DETACH, pid, 0, (void *)(intptr_t)signal);
	errno = error;
	return n;
}

#define SEIZE_PAUSE_MAX	10	/* ms, between two tries to trace */

/*
 * Copies the system call filters of a process, which is stopped for a moment.
 * While another process traces it, this tries again.  A process that cannot be
 * stopped blocks this for ever.
 *   deadline   of trying again
 * errors     EPERM   when another process still traces it
 *            EACCES  when the caller has filters itself, or is not the host's
 *                    root
 *            EIO     when the kernel was built without checkpoint/restore
 * source     PTRACE_SECCOMP_GET_FILTER of ptrace(2)
 */
static int
filters_read(const struct process *process, int64_t deadline,
    struct filters *filters)
{
	/* EPERM: a process can have only one tracer at a time. */
	for (int ms = 1; sys_ptrace(LINUX_PTRACE_SEIZE, process->pid, 0,
	    NULL) == -1; ms += ms < SEIZE_PAUSE_MAX) {
		if (errno != EPERM || deadline_left(deadline) == 0)
			return -1;
		if (!process_alive(process))
			return -1;
		poll(NULL, 0, ms);
	}
	return filters_copy_seized(process, filters);
}

/* ---- entry --------------------------------------------------------- */

/*
 * Entering a machine.  The caller sends an order to its monitor.  For each
 * order the monitor forks an intermediate, which enters the machine step by
 * step and then forks the command as a child of the monitor.  The monitor sends
 * reports to the caller.
 *
 * What keeps it right:
 *
 * - The monitor is a fresh image of the program, executed from a sealed copy in
 *   memory with one word and an empty environment.  So the memory of a process
 *   that enters holds nothing of the caller's, and nobody can write to its
 *   file.
 * - A machine's system call filters are the machine's code: they can answer any
 *   call with 0 or an error without making it.  So everything that protects the
 *   host is done before they are applied, and no result is trusted afterwards.
 * - Whoever waits for a process that uses the machine's files has a deadline.
 *   Then the process is killed; if even that does not end it, it is left behind
 *   with a report.
 */

#define CGROUP_TRIES	8	/* while PID 1 moves between cgroups */

/*
 * The steps of a report that stand for joining a namespace: this number plus
 * the namespace's NAMESPACE_ number.
 */
#define NAMESPACE_STEP		1000

/*
 * Arrays in a table: pointers would have to be relocated at each start.  A bool
 * fills the row.
 */
#define STEP_WORDS_SIZE		39

/* Memory of the monitor and an intermediate; the command does not have it. */
struct page {
	volatile int	step;		/* the current one */
	volatile int	error;		/* errno of that step if it failed */
	volatile pid_t	tracer;		/* of the leader; 0: none */
	volatile pid_t	command;	/* its number; the kernel writes it */
};

/*
 * An order.  It is sent as a file in memory that contains this, then the
 * leader's groups, then all words of the command, each with its NUL.  The
 * descriptors are sent beside the file.
 */
struct order {
	int		 id;
	struct entry_needs	 entry;
	struct command	 command;
	struct termios	 modes;
	struct winsize	 size;
	bool		 has_modes, has_size;
	size_t		 argv_count, defaults_count, variables_count;
	char		**environment;	/* room for the command's */
};

#define ORDER_WORDS	4	/* single words, before the lists */

#define ACCOUNT_VARIABLES	5	/* HOME and others */

/* The state of an intermediate. */
struct intermediate {
	struct order	*order;
	struct page	*page;
	int		 channel;
	int64_t		 deadline;
	int		 oom_score;	/* its own oom_score_adj, to write to */
	int		 tty;		/* 0, 1 or 2; -1: none */
	struct account	 account;
	uint64_t	 capabilities;	/* kept until the filters are applied */
	size_t		 group_count;	/* of the account */
	gid_t		 groups[PROCESS_GROUPS_MAX];
	/* The command's environment; variables describe the account. */
	char		**environment;
	char		 variables[ACCOUNT_VARIABLES][ACCOUNT_TEXT_MAX + 16];
};

/* ---- entry: reading ------------------------------------------------ */

/* Opens the folder (v2) or file (v1) by which a leader's cgroup is joined. */
static int
entry_open_cgroup(const struct host *host, const struct cgroup_line *line,
    struct entry_needs *entry)
{
	/* A hierarchy without a controller has a name and confines nobody. */
	bool named = strncmp(line->hierarchy, "name=", 5) == 0;
	int fd, procs;

	/* On a host of cgroup v2 nobody uses it. */
	if (named && fd_is_on(host->cgroup, LINUX_CGROUP2_MAGIC))
		return 0;
	fd = cgroup_open(host, line);
	if (fd == -1)
		return errno == ENODEV && named ? 0 : -1;
	if (cgroup_frozen(fd, line)) {
		fd_close(&fd);
		errno = EBUSY;
		return -1;
	}
	if (line->hierarchy[0] == '\0') {
		entry->cgroup = fd;
		return 0;
	}
	procs = openat(fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	fd_close(&fd);
	if (procs == -1)
		return -1;
	if (entry->group_file_count == ENTRY_GROUP_FILES) {
		fd_close(&procs);
		errno = E2BIG;
		return -1;
	}
	entry->group_files[entry->group_file_count++] = procs;
	return 0;
}

/*
 * Opens the leader's cgroups that differ from ours, in all hierarchies.  Both
 * files list the hierarchies in the same order.
 */
static int
entry_open_cgroups(const struct host *host, struct stream *theirs,
    struct stream *ours, struct entry_needs *entry)
{
	struct cgroup_line line, own;

	while (cgroup_line_next(theirs, &line)) {
		if (path_is_cut(line.path)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if ((!cgroup_line_next(ours, &own) ||
		    strcmp(line.hierarchy, own.hierarchy) != 0 ||
		    strcmp(line.path, own.path) != 0) &&
		    entry_open_cgroup(host, &line, entry) == -1)
			return -1;
	}
	errno = theirs->error;
	return theirs->error == 0 ? 0 : -1;
}

/*
 * Fails with ESTALE if the leader has left the user namespace of entry.  A
 * process can never return to a user namespace, nor get back what it has given
 * up.  So if nothing has changed, all facts read so far belong together.
 */
static int
entry_verify_namespace(int proc, const struct entry_needs *entry)
{
	uint64_t id;

	if (namespace_id(proc, entry->leader.pid, "ns/user", &id) == -1)
		return -1;
	if (id == entry->user_namespace)
		return process_alive(&entry->leader) ? 0 : -1;
	errno = ESTALE;
	return -1;
}

/*
 * Fails with EAGAIN while the leader still runs systemd-nspawn's own program:
 * it has not yet given up the rights that the machine must not have.
 */
static int
entry_read_start(const struct host *host, const struct command *command,
    struct entry_needs *entry)
{
	bool starting;

	(void)command;
	if (init_starting(host->proc, &entry->leader, &starting) == -1)
		return -1;
	if (starting)
		errno = EAGAIN;
	return starting ? -1 : 0;
}

/* The number of the initial user namespace, since Linux 3.8. */
#define USER_NAMESPACE_INITIAL	UINT64_C(0xeffffffd)

/*
 * Opens the namespaces to be joined.  Root of the initial user namespace can
 * join again a namespace that it is in already, except its user namespace.
 * Root of another user namespace cannot, so there all are compared.
 */
static int
entry_read_namespaces(const struct host *host, const struct command *command,
    struct entry_needs *entry)
{
	uint64_t own;

	if (namespace_id(host->proc, entry->leader.pid, "ns/user",
	    &entry->user_namespace) == -1 ||
	    namespace_id(host->proc, 0, "ns/user", &own) == -1)
		return -1;
	return namespaces_open_some(host->proc, &entry->leader,
	    command->namespaces, own == USER_NAMESPACE_INITIAL ?
	    1u << NAMESPACE_USER : NAMESPACES_ALL, entry->namespaces);
}

static int
entry_open_file(const struct host *host, const struct entry_needs *entry,
    const char *file, int flags)
{
	char path[PROC_PATH_SIZE];

	return openat(host->proc, proc_path(path, entry->leader.pid, file),
	    flags | O_CLOEXEC);
}

static int
entry_read_root(const struct host *host, const struct command *command,
    struct entry_needs *entry)
{
	(void)command;
	if (entry->namespaces[NAMESPACE_MOUNT] == -1)
		return 0;
	entry->root = entry_open_file(host, entry, "root", O_PATH);
	return entry->root == -1 ? -1 : 0;
}

/* Opens the map of the leader's user namespace, see account_id_to_host(). */
static int
entry_read_ids(const struct host *host, const struct command *command,
    struct entry_needs *entry)
{
	(void)command;
	if (entry->namespaces[NAMESPACE_USER] == -1)
		return 0;
	entry->uid_map = entry_open_file(host, entry, "uid_map", O_RDONLY);
	return entry->uid_map == -1 ? -1 : 0;
}

static int
entry_read_confinement(const struct host *host, const struct command *command,
    struct entry_needs *entry)
{
	(void)command;
	return confinement_read(host->proc, entry->leader.pid,
	    &entry->confinement) == -1 ? -1 :
	    entry_verify_namespace(host->proc, entry);
}

static int
entry_read_groups(const struct host *host, const struct command *command,
    struct entry_needs *entry)
{
	if (!entry->confinement.grouped || command->user != NULL)
		return 0;
	return process_groups_read(host->proc, entry->leader.pid,
	    &entry->groups, &entry->group_count);
}

static void
entry_close_cgroups(struct entry_needs *entry)
{
	while (entry->group_file_count > 0)
		fd_close(&entry->group_files[--entry->group_file_count]);
	fd_close(&entry->cgroup);
}

static int
entry_read_cgroups(const struct host *host, const struct command *command,
    struct entry_needs *entry)
{
	struct stream theirs, ours;
	int n = -1;

	(void)command;
	/* ENOENT: it has left a cgroup, which was then removed. */
	for (int i = 0; i < CGROUP_TRIES && (i == 0 || errno == ENOENT); i++) {
		if (proc_stream(host->proc, entry->leader.pid, "cgroup",
		    &theirs) == -1)
			return -1;
		n = proc_stream(host->proc, 0, "cgroup", &ours);
		if (n == 0) {
			n = entry_open_cgroups(host, &theirs, &ours, entry);
			stream_close(&ours);
		}
		stream_close(&theirs);
		if (n == 0)
			return 0;
		entry_close_cgroups(entry);
	}
	return n;
}

/* What is read of a leader, in this order; a message says "cannot" + words. */
static const struct {
	char	 words[STEP_WORDS_SIZE];
	bool	 confining;	/* not done for a privileged command */
	int	(*read)(const struct host *host, const struct command *command,
		    struct entry_needs *entry);
} readings[] = {
	{ "check whether it has started", false,
	    entry_read_start },
	{ "open the namespaces of its leader", false,
	    entry_read_namespaces },
	{ "open the root directory of its leader", false,
	    entry_read_root },
	{ "read the user ids of its leader", false,
	    entry_read_ids },
	{ "read the confinement of its leader", true,
	    entry_read_confinement },
	{ "read the groups of its leader", true,
	    entry_read_groups },
	{ "open the cgroups of its leader", true,
	    entry_read_cgroups },
};

#define READINGS	((int)(sizeof(readings) / sizeof(readings[0])))

int
entry_read(const struct host *host, const struct machine *machine,
    const struct command *command, struct entry_needs *entry,
    struct entry_report *report)
{
	const struct process_status *status = &machine->status;
	struct entry_needs e = { .leader = machine->leader, .root = -1,
	    .uid_map = -1, .cgroup = -1, .confined = !command->privileged,
	    .confinement = {
		.bounding = status->bounding,
		.no_new_privs = status->no_new_privs,
		.filtered = status->filtered && !command->unfiltered,
		.grouped = status->grouped,
	} };
	int n = 0, error;
	bool alive;

	for (int i = 0; i < NAMESPACES; i++)
		e.namespaces[i] = -1;
	*report = (struct entry_report){ .event = ENTRY_FAILED };
	for (int i = 0; n == 0 && i < READINGS; i++) {
		report->step = i;
		if (e.confined || !readings[i].confining)
			n = readings[i].read(host, command, &e);
	}
	/* If the leader is still alive, what was read is its own. */
	error = errno;
	alive = process_alive(&machine->leader);
	if (n == 0 && alive) {
		*entry = e;
		return 0;
	}
	report->error = alive ? error : errno;
	entry_close(&e);
	errno = report->error;
	return -1;
}

void
entry_close(struct entry_needs *entry)
{
	int error = errno;

	for (int i = 0; i < NAMESPACES; i++)
		fd_close(&entry->namespaces[i]);
	entry_close_cgroups(entry);
	fd_close(&entry->root);
	fd_close(&entry->uid_map);
	process_groups_free(entry->groups);
	entry->groups = NULL;
	errno = error;
}

/* ---- entry: the sealed copy ---------------------------------------- */

#define LINUX_F_SEAL_FUTURE_WRITE	0x0010
#define LINUX_MFD_EXEC			0x0010

/* Not F_SEAL_WRITE: that fails if the kernel still uses one of the pages. */
#define SELF_SEALS	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | \
			LINUX_F_SEAL_FUTURE_WRITE)

/* True if this process runs a sealed copy. */
static bool
self_is_sealed(void)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	bool sealed = self != -1 && fcntl(self, F_GET_SEALS) == SELF_SEALS;

	fd_close(&self);
	return sealed;
}

static int
sys_memfd_create(const char *name, unsigned flags)
{
	return (int)syscall(SYS_memfd_create, name, flags);
}

/* Copies a file to a memfd and seals it: then nobody can write to it. */
static int
sealed_copy(int file)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int copy = sys_memfd_create("nspawn-tools", flags | LINUX_MFD_EXEC);
	struct stat st;
	ssize_t n = -1;

	if (copy == -1 && errno == EINVAL)	/* before Linux 6.3 */
		copy = sys_memfd_create("nspawn-tools", flags);
	if (copy == -1 || fstat(file, &st) == -1)
		goto fail;
	for (off_t left = st.st_size; left > 0; left -= n) {
		n = sendfile(copy, file, NULL, (size_t)left);
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			goto fail;
	}
	if (fcntl(copy, F_ADD_SEALS, SELF_SEALS) == -1)
		goto fail;
	return copy;
fail:
	fd_close(&copy);
	return -1;
}

/* ---- entry: orders and reports ------------------------------------- */

/* Linux's SCM_MAX_FD is 253. */
#define PACKET_FDS_MAX	(NAMESPACES + ENTRY_GROUP_FILES + FDS_STANDARD + 8)

union packet_control {
	struct cmsghdr	header;
	char		space[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
};

static int
packet_send(int channel, const void *data, size_t size, const int *fds,
    size_t count)
{
	struct iovec part = { (void *)(uintptr_t)data, size };
	union packet_control control = { .header = {
	    .cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int)),
	    .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	if (count > 0) {
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
		packet.msg_control = &control;
		packet.msg_controllen = (socklen_t)CMSG_SPACE(count *
		    sizeof(int));
	}
	do
		n = sendmsg(channel, &packet, MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	return n == -1 ? -1 : 0;
}

/*
 * Takes a packet of exactly this size, and the descriptors that come with it.
 * errors   ECONNRESET  when the other side has ended
 *          EMFILE      when there were too few free descriptors
 */
static int
packet_receive(int channel, void *data, size_t size, int *fds, size_t *count)
{
	struct iovec part = { data, size };
	union packet_control control;
	struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1,
	    .msg_control = &control, .msg_controllen = sizeof(control) };
	const struct cmsghdr *header;
	bool reset = false;
	ssize_t n;

	*count = 0;
	do {
		n = recvmsg(channel, &packet, MSG_CMSG_CLOEXEC);
		/* The other side has not read all: what it sent is there. */
		reset = n == -1 && errno == ECONNRESET && !reset;
	} while (reset || (n == -1 && errno == EINTR));
	if (n == -1)
		return -1;
	header = CMSG_FIRSTHDR(&packet);
	if (header != NULL) {
		*count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(header), *count * sizeof(int));
	}
	if ((size_t)n == size && (packet.msg_flags & MSG_CTRUNC) == 0)
		return 0;
	for (size_t i = 0; i < *count; i++)
		fd_close(&fds[i]);
	*count = 0;
	/* The kernel drops descriptors for which there is no free number. */
	errno = n == 0 ? ECONNRESET :
	    packet.msg_flags & MSG_CTRUNC ? EMFILE : EPROTO;
	return -1;
}

/* What is sent to a monitor: an order, in a file in memory, or a signal. */
struct instruction {
	int	id;
	int	signal;		/* 0: an order */
	size_t	pointers;	/* of an order, see order_pointers() */
};

/*
 * Lists where an order keeps its descriptors.
 * Returns  how many there are
 */
static size_t
order_fds(struct order *order, int *slots[PACKET_FDS_MAX])
{
	struct entry_needs *entry = &order->entry;
	size_t count = 0;

	slots[count++] = &entry->leader.fd;
	slots[count++] = &entry->root;
	slots[count++] = &entry->uid_map;
	slots[count++] = &entry->cgroup;
	for (int i = 0; i < NAMESPACES; i++)
		slots[count++] = &entry->namespaces[i];
	for (size_t i = 0; i < entry->group_file_count; i++)
		slots[count++] = &entry->group_files[i];
	for (int i = 0; i < FDS_STANDARD; i++)
		slots[count++] = &order->command.fds[i];
	return count;
}

static size_t
words_count(char *const *words)
{
	size_t count = 0;

	while (words != NULL && words[count] != NULL)
		count++;
	return count;
}

/* A file in memory that is being written. */
struct memory {
	int	fd;
	int	error;		/* errno of what went wrong; or 0 */
	size_t	used;		/* of buffer */
	char	buffer[4096];
};

/* Writes the buffer to the file. */
static void
memory_flush(struct memory *memory)
{
	size_t done = 0;
	ssize_t n;

	for (; memory->error == 0 && done < memory->used; done += (size_t)n) {
		n = write(memory->fd, memory->buffer + done,
		    memory->used - done);
		if (n == -1) {
			memory->error = errno;
			return;
		}
	}
	memory->used = 0;
}

static void
memory_write(struct memory *memory, const void *data, size_t size)
{
	const char *next = data;

	while (memory->error == 0 && size > 0) {
		size_t room = sizeof(memory->buffer) - memory->used;
		size_t part = size < room ? size : room;

		memcpy(memory->buffer + memory->used, next, part);
		memory->used += part;
		next += part;
		size -= part;
		if (memory->used == sizeof(memory->buffer))
			memory_flush(memory);
	}
}

/* Writes words, each with its NUL; NULL becomes an empty word. */
static void
memory_write_words(struct memory *memory, const char *const *words,
    size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *word = words[i] == NULL ? "" : words[i];

		memory_write(memory, word, strlen(word) + 1);
	}
}

/* Makes an order to be sent: without addresses of our memory. */
static void
order_make(int id, const struct entry_needs *entry,
    const struct command *command, struct order *order)
{
	struct command *c = &order->command;

	memset(order, 0, sizeof(*order));
	order->id = id;
	order->entry = *entry;
	order->entry.groups = NULL;
	*c = *command;
	order->has_modes = c->modes != NULL;
	if (order->has_modes)
		order->modes = *c->modes;
	order->has_size = c->size != NULL;
	if (order->has_size)
		order->size = *c->size;
	order->argv_count = words_count(c->argv);
	order->defaults_count = words_count(c->defaults);
	order->variables_count = words_count(c->variables);
	c->argv = c->defaults = c->variables = NULL;
	c->complaint = c->user = c->group = c->directory = NULL;
	c->modes = NULL;
	c->size = NULL;
}

/*
 * Lists the descriptors of an order from fds[1] on; in the order itself each is
 * replaced by its place in that list.
 * Returns  the length of the list, with fds[0]
 */
static size_t
order_list_fds(struct order *order, int fds[PACKET_FDS_MAX])
{
	int *slots[PACKET_FDS_MAX];
	size_t all = order_fds(order, slots), count = 1;

	for (size_t i = 0; i < all; i++)
		if (*slots[i] != -1) {
			fds[count] = *slots[i];
			*slots[i] = (int)count++;
		}
	return count;
}

static int
order_write(int fd, const struct order *order, const struct entry_needs *entry,
    const struct command *command)
{
	const char *const words[ORDER_WORDS] = { command->complaint,
	    command->user, command->group, command->directory };
	struct memory memory = { .fd = fd };

	memory_write(&memory, order, sizeof(*order));
	memory_write(&memory, entry->groups,
	    entry->group_count * sizeof(gid_t));
	memory_write_words(&memory, words, ORDER_WORDS);
	memory_write_words(&memory, (const char *const *)command->argv,
	    order->argv_count);
	memory_write_words(&memory, (const char *const *)command->defaults,
	    order->defaults_count);
	memory_write_words(&memory, (const char *const *)command->variables,
	    order->variables_count);
	memory_flush(&memory);
	errno = memory.error;
	return memory.error == 0 ? 0 : -1;
}

/*
 * Counts the pointers that an order needs for its words and for the command's
 * environment, with the NULL at the end of each list.
 */
static size_t
order_pointers(const struct order *order)
{
	size_t variables = order->defaults_count + order->variables_count;

	return order->argv_count + 1 + variables + 2 +
	    variables + 1 + ACCOUNT_VARIABLES + 1;
}

static int
order_send(int channel, int id, const struct entry_needs *entry,
    const struct command *command)
{
	struct instruction instruction = { .id = id };
	int fds[PACKET_FDS_MAX], n;
	struct order order;
	size_t count;

	/* In the file an empty word stands for NULL. */
	if ((command->user != NULL && *command->user == '\0') ||
	    (command->group != NULL && *command->group == '\0')) {
		errno = EINVAL;
		return -1;
	}
	fds[0] = sys_memfd_create("nspawn-tools-order", MFD_CLOEXEC);
	if (fds[0] == -1)
		return -1;
	order_make(id, entry, command, &order);
	count = order_list_fds(&order, fds);
	instruction.pointers = order_pointers(&order);
	n = order_write(fds[0], &order, entry, command);
	if (n == 0)
		n = packet_send(channel, &instruction, sizeof(instruction),
		    fds, count);
	fd_close(&fds[0]);
	return n;
}

int
monitor_signal(const struct monitor *monitor, int id, int signal)
{
	struct instruction instruction = { .id = id, .signal = signal };

	return packet_send(monitor->channel, &instruction,
	    sizeof(instruction), NULL, 0);
}

int
monitor_report(const struct monitor *monitor, struct entry_report *report,
    int *fd)
{
	int fds[PACKET_FDS_MAX];
	size_t count;

	if (packet_receive(monitor->channel, report, sizeof(*report), fds,
	    &count) == -1)
		return -1;
	*fd = count == 0 ? -1 : fds[0];
	return 0;
}

/* Sends a report, with a descriptor unless that is -1. */
static int
report_send(int channel, const struct entry_report *report, int fd)
{
	return packet_send(channel, report, sizeof(*report), &fd,
	    fd == -1 ? 0 : 1);
}

/*
 * Lists count words of text, with NULL at the end, at *place.  Moves both
 * *place and *text on.
 */
static char *const *
words_read(char ***place, size_t count, char **text)
{
	char **words = *place;

	for (size_t i = 0; i < count; i++) {
		words[i] = *text;
		*text += strlen(*text) + 1;
	}
	words[count] = NULL;
	*place += count + 1;
	return words;
}

/* Reads one word and moves *text on; an empty word is NULL. */
static const char *
word_read(char **text)
{
	const char *word = *text;

	*text += strlen(word) + 1;
	return *word == '\0' ? NULL : word;
}

/* A received order, with its memory and its descriptors. */
struct received {
	char		*memory;	/* MAP_FAILED: not yet read */
	size_t		 size;		/* of memory */
	struct order	*order;		/* points into memory */
	int		 fds[PACKET_FDS_MAX];
	size_t		 fd_count;
};

/*
 * Puts descriptors and pointers back into the received order.
 *   words    room for the pointers
 */
static void
received_complete(struct received *received, char **words)
{
	struct order *order = received->order;
	struct command *c = &order->command;
	int *slots[PACKET_FDS_MAX];
	size_t all = order_fds(order, slots);
	char *text;

	for (size_t i = 0; i < all; i++)
		if (*slots[i] != -1)
			*slots[i] = received->fds[*slots[i]];
	order->entry.groups = (gid_t *)(order + 1);
	text = (char *)(order->entry.groups + order->entry.group_count);
	c->complaint = word_read(&text);
	c->user = word_read(&text);
	c->group = word_read(&text);
	c->directory = word_read(&text);
	c->argv = words_read(&words, order->argv_count, &text);
	c->defaults = words_read(&words, order->defaults_count, &text);
	c->variables = words_read(&words, order->variables_count, &text);
	c->modes = order->has_modes ? &order->modes : NULL;
	c->size = order->has_size ? &order->size : NULL;
	order->environment = words;
}

/*
 * Reads the order from its file into private memory.  It is not mapped, because
 * a machine sees the files that a command has mapped.
 */
static int
received_read(struct received *received, size_t pointers)
{
	struct stat st;
	size_t length;

	errno = EIO;
	if (fstat(received->fds[0], &st) == -1 ||
	    st.st_size < (off_t)sizeof(struct order))
		return -1;
	/* The pointers come first; an even number keeps the order aligned. */
	length = (pointers + 1) / 2 * 2 * sizeof(char *);
	received->size = length + (size_t)st.st_size;
	received->memory = mmap(NULL, received->size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (received->memory == MAP_FAILED)
		return -1;
	received->order = (struct order *)(received->memory + length);
	for (off_t used = 0; used < st.st_size;) {
		ssize_t n = pread(received->fds[0], (char *)received->order +
		    used, (size_t)(st.st_size - used), used);

		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return -1;
		used += n;
	}
	received_complete(received, (char **)received->memory);
	return 0;
}

/* Forgets an order, so that nothing of one machine gets into another. */
static void
received_close(struct received *received)
{
	while (received->fd_count > 0)
		fd_close(&received->fds[--received->fd_count]);
	if (received->memory != MAP_FAILED)
		munmap(received->memory, received->size);
	received->memory = MAP_FAILED;
}

/* ---- entry: the command -------------------------------------------- */

/*
 * The machine's filters are applied now, and can fake the result of any system
 * call.  So a wrong result may harm only the machine, and nothing may be
 * repeated until it succeeds.
 */

/* Unblocks all signals; the monitor has given them their default action. */
static void
signals_unblock(void)
{
	static const uint64_t none;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

/* Prints why there is no command, and ends.  stdio(3) might retry for ever. */
static _Noreturn void
command_fail(const struct intermediate *i, const char *what, const char *name,
    int status)
{
	const char *complaint = i->order->command.complaint;
	char line[2 * PATH_MAX], clean[PATH_MAX];

	text_format(line, sizeof(line), "%s: cannot %s%s: %s\n",
	    complaint == NULL ? "" : complaint, what,
	    text_printable(name, clean, sizeof(clean)), strerror(errno));
	if (write(STDERR_FILENO, line, strlen(line)) == -1)
		status = ENTRY_STATUS_FAILED;
	sys_exit(status);
}

/* Executes the command, or prints why that failed. */
static _Noreturn void
command_exec(const struct intermediate *i)
{
	char *const *argv = i->order->command.argv;
	const char *shell = i->account.shell, *name = argv[0];
	char login[ACCOUNT_TEXT_MAX + 1], *words[] = { login, NULL };

	errno = 0;
	if (name != NULL)
		execvp(name, argv);
	else {
		name = shell;
		text_format(login, sizeof(login), "-%s", path_base(shell));
		execv(shell, words);
	}
	if (errno == 0)		/* a filter has faked the call */
		errno = EPERM;
	command_fail(i, "execute ", name,
	    errno == ENOENT || errno == ENOTDIR ?
	    ENTRY_STATUS_NOT_FOUND : ENTRY_STATUS_NOT_EXECUTABLE);
}

/*
 * The command until its exec.  It belongs to the machine from the start, and
 * signals can end it from signals_unblock() on.
 */
static _Noreturn void
command_main(const struct intermediate *i)
{
	const struct command *command = &i->order->command;

	setsid();
	if (i->tty != -1 && ioctl(i->tty, TIOCSCTTY, 0) == -1)
		command_fail(i, "use the terminal", "", ENTRY_STATUS_FAILED);
	/* If even the monitor is killed, the command must not go on. */
	if (!command->detached)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	signals_unblock();
	if (command->directory != NULL) {
		if (chdir(command->directory) == -1)
			command_fail(i, "change directory to ",
			    command->directory, ENTRY_STATUS_FAILED);
	} else if (chdir(i->account.home) == -1 && chdir("/") == -1)
		command_fail(i, "change directory to ", "/",
		    ENTRY_STATUS_FAILED);
	command_exec(i);
}

/* ---- entry: the intermediate --------------------------------------- */

/*
 * System calls, because those of a libc do work for threads, and we have none.
 * Some architectures have older calls, too, with ids of 16 bits.
 */
#ifdef SYS_setresuid32
#define LINUX_SETRESUID	SYS_setresuid32
#define LINUX_SETRESGID	SYS_setresgid32
#define LINUX_SETGROUPS	SYS_setgroups32
#else
#define LINUX_SETRESUID	SYS_setresuid
#define LINUX_SETRESGID	SYS_setresgid
#define LINUX_SETGROUPS	SYS_setgroups
#endif

static int
sys_setresuid(uid_t uid)
{
	return (int)syscall(LINUX_SETRESUID, uid, uid, uid);
}

static int
sys_setresgid(gid_t gid)
{
	return (int)syscall(LINUX_SETRESGID, gid, gid, gid);
}

static int
sys_setgroups(size_t count, const gid_t *groups)
{
	return (int)syscall(LINUX_SETGROUPS, count, groups);
}

/*
 * Makes a session before anything belongs to the machine.  Its filters may keep
 * the command from making one, and then a signal to the process group must
 * reach nobody else.
 */
static int
session_leave(struct intermediate *i)
{
	(void)i;
	return setsid() == -1 || prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 ?
	    -1 : 0;
}

/* Joins the cgroups of v1; that of v2 it is in since its fork. */
static int
cgroups_join(struct intermediate *i)
{
	const struct entry_needs *entry = &i->order->entry;

	for (size_t n = 0; n < entry->group_file_count; n++)
		if (write(entry->group_files[n], "0", 1) == -1)
			return -1;
	return 0;
}

static int
oom_score_write(int fd, int score)
{
	char text[16];
	size_t length = text_format(text, sizeof(text), "%d", score);

	return write(fd, text, length) == -1 ? -1 : 0;
}

#define OOM_SCORE_MAX	1000

/* Makes this process the first to be killed if memory runs out. */
static int
oom_score_raise(struct intermediate *i)
{
	i->oom_score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	return i->oom_score == -1 ? -1 :
	    oom_score_write(i->oom_score, OOM_SCORE_MAX);
}

static int
scheduling_apply(struct intermediate *i)
{
	const struct confinement *c = &i->order->entry.confinement;

	return syscall(SYS_sched_setaffinity, 0, c->processors_size,
	    c->processors) == -1 ||
	    syscall(SYS_sched_setattr, 0, &c->scheduling, 0) == -1 ||
	    /* For some policies sched_setattr() does not set this. */
	    setpriority(PRIO_PROCESS, 0, c->nice) == -1 ||
	    syscall(SYS_ioprio_set, LINUX_IOPRIO_WHO_PROCESS, 0,
	    c->io_priority) == -1 ||
	    syscall(SYS_personality, c->personality) == -1 ? -1 : 0;
}

#define LINUX_KEYCTL_JOIN_SESSION	1

/* Replaces the caller's session keyring by an empty one. */
static int
keyring_leave(struct intermediate *i)
{
	(void)i;
	/* Where keyrings are missing or forbidden there is none to leave. */
	return syscall(SYS_keyctl, LINUX_KEYCTL_JOIN_SESSION, NULL) != -1 ||
	    errno == ENOSYS || errno == EPERM ? 0 : -1;
}

/* Resets the caller's securebits: the command has root's usual rights. */
static int
securebits_reset(struct intermediate *i)
{
	(void)i;
	return prctl(PR_GET_SECUREBITS) == 0 ||
	    prctl(PR_SET_SECUREBITS, 0) == 0 ? 0 : -1;
}

/* Sets the leader's label for the next exec. */
static int
label_apply(struct intermediate *i)
{
	const char *label = i->order->entry.confinement.label;
	ssize_t n;
	int fd;

	if (*label == '\0')
		return 0;
	/* attr/exec may belong to another module than AppArmor. */
	fd = strncmp(label, "exec ", 5) != 0 ? -1 :
	    open("/proc/self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		fd = open("/proc/self/attr/exec", O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	n = write(fd, label, strlen(label));
	fd_close(&fd);
	return n == -1 ? -1 : 0;
}

/* Returns the tracer of a process, or 0 if we see none. */
static pid_t
tracer_of(const struct process *process)
{
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct process_status status = { .tracer = 0 };

	process_status_read(proc, process->pid, &status);
	fd_close(&proc);
	return status.tracer;
}

/* What filters_fetch() copies and filters_apply() applies. */
static struct filters intermediate_filters;

#define TRACER_TIME	250	/* ms, between two reads of TracerPid */
#define TRACER_ATTEMPTS	4	/* that find no tracer */

/*
 * Copies the leader's filters.  Waits for a tracer of the leader until the
 * deadline; but only for a short time if we see no tracer, because the reason
 * may be another one.
 */
static int
filters_fetch(struct intermediate *i)
{
	const struct process *leader = &i->order->entry.leader;
	int n, error, unseen = 0;

	if (!i->order->entry.confinement.filtered)
		return 0;
	do {
		int64_t attempt = deadline_in(TRACER_TIME);

		n = filters_read(leader, attempt < i->deadline ? attempt :
		    i->deadline, &intermediate_filters);
		error = errno;
		i->page->tracer = n == 0 ? 0 : tracer_of(leader);
		unseen = i->page->tracer != 0 ? 0 : unseen + 1;
	} while (n == -1 && error == EPERM && unseen < TRACER_ATTEMPTS &&
	    deadline_left(i->deadline) != 0);
	errno = error;
	return n;
}

/*
 * Fails with ESTALE if the leader has changed since it was read.  Otherwise the
 * filters that were copied and the rest of its confinement belong together.
 */
static int
leader_verify(struct intermediate *i)
{
	const struct entry_needs *entry = &i->order->entry;
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), n;
	struct process_status now;

	if (proc == -1)
		return -1;
	n = process_status_read(proc, entry->leader.pid, &now);
	if (n == 0 && (now.bounding != entry->confinement.bounding ||
	    now.no_new_privs != entry->confinement.no_new_privs ||
	    (now.filtered != entry->confinement.filtered &&
	    !i->order->command.unfiltered))) {
		errno = ESTALE;
		n = -1;
	}
	if (n == 0)
		n = entry_verify_namespace(proc, entry);
	fd_close(&proc);
	return n;
}

/* ---- entry: the command's account ---------------------------------- */

/*
 * Opens a file of the machine, or of the host if the machine's root is not
 * entered.  A missing file, or what is not a regular file, counts as empty.
 */
static int
account_file_open(const struct intermediate *i, const char *path,
    struct stream *stream)
{
	int root = i->order->entry.root, fd, own = -1;

	if (root == -1)
		own = root = open("/", O_PATH | O_CLOEXEC);
	fd = file_open_in_root(root, path);
	fd_close(&own);
	if (fd == -1 && errno != ENOENT && errno != ENOTDIR &&
	    errno != EINVAL && errno != ELOOP && errno != EXDEV &&
	    errno != ENXIO &&
	    (errno != ENOSYS || i->order->command.user != NULL))
		return -1;
	stream_of_fd(fd, stream);	/* -1 makes an empty text */
	return 0;
}

/* Makes an account that is not in the machine's passwd. */
static void
account_make(uid_t uid, const char *name, const char *home,
    struct account *account)
{
	*account = (struct account){ .uid = uid };
	text_format(account->name, sizeof(account->name), "%s", name);
	text_format(account->home, sizeof(account->home), "%s", home);
}

/*
 * Makes the account of a user who is not in the machine's passwd: root always
 * exists and, if a group is given, every number does.
 */
static int
account_make_for(const struct command *command, const char *who,
    struct account *account)
{
	uint64_t uid;

	if (strcmp(who, "0") == 0 || strcmp(who, "root") == 0)
		account_make(0, "root", "/root", account);
	else if (command->group != NULL &&
	    number_parse(who, ACCOUNT_ID_MAX, &uid) == 0)
		account_make((uid_t)uid, who, "/", account);
	else {
		errno = ENOENT;
		return -1;
	}
	return 0;
}

static int
account_find(struct intermediate *i)
{
	const struct command *command = &i->order->command;
	const char *who = command->user == NULL ? "0" : command->user;
	struct account *account = &i->account;
	struct stream passwd;
	int n = -1;

	errno = ENOENT;
	if (!command->nameless) {
		if (account_file_open(i, "/etc/passwd", &passwd) == -1)
			return -1;
		n = account_read(&passwd, who, account);
		stream_close(&passwd);
	}
	if (n == -1 && errno == ENOENT)
		n = account_make_for(command, who, account);
	if (n == 0 && account->shell[0] == '\0')
		text_format(account->shell, sizeof(account->shell), "/bin/sh");
	return n;
}

static int
group_find(struct intermediate *i)
{
	const char *who = i->order->command.group;
	struct stream group;
	int n;

	if (who == NULL)
		return 0;
	if (account_file_open(i, "/etc/group", &group) == -1)
		return -1;
	n = account_group_read(&group, who, &i->account.gid);
	stream_close(&group);
	return n;
}

/* Finds the groups of a user who was given; others have the leader's groups. */
static int
groups_find(struct intermediate *i)
{
	struct stream group;
	ssize_t n;

	if (i->order->command.user == NULL)
		return 0;
	if (account_file_open(i, "/etc/group", &group) == -1)
		return -1;
	n = account_groups(&group, i->account.name, i->groups,
	    PROCESS_GROUPS_MAX);
	stream_close(&group);
	i->group_count = n == -1 ? 0 : (size_t)n;
	return n == -1 ? -1 : 0;
}

/* ---- entry: terminal and descriptors ------------------------------- */

/* Gives a terminal to the user, as a login does. */
static int
terminal_chown(struct intermediate *i)
{
	struct stream map;
	uint32_t outside = i->account.uid;
	int n = 0;

	if (i->tty == -1)
		return 0;
	if (i->order->entry.uid_map != -1) {
		stream_of_fd(i->order->entry.uid_map, &map);
		i->order->entry.uid_map = -1;
		n = account_id_to_host(&map, i->account.uid, &outside);
		stream_close(&map);
	}
	return n == -1 ? -1 : fchown(i->tty, outside, (gid_t)-1);
}

#define LINUX_DEVPTS_MAGIC	0x1cd1

/* Opens the ptmx in the devpts of a process with that root directory. */
static int
ptmx_open(int root)
{
	struct sys_open_how folder = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = LINUX_RESOLVE_IN_ROOT | LINUX_RESOLVE_NO_MAGICLINKS |
		    LINUX_RESOLVE_NO_SYMLINKS,
	};
	struct sys_open_how file = {
		.flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
		.resolve = LINUX_RESOLVE_BENEATH | LINUX_RESOLVE_NO_XDEV |
		    LINUX_RESOLVE_NO_SYMLINKS,
	};
	int master = -1, pts = sys_openat2(root, "dev/pts", &folder);

	if (pts == -1)
		return -1;
	if (fd_is_on(pts, LINUX_DEVPTS_MAGIC))
		master = sys_openat2(pts, "ptmx", &file);
	else
		errno = ENODEV;
	fd_close(&pts);
	return master;
}

/*
 * Opens a new pseudo-terminal in /dev/pts below the root directory root; only a
 * devpts file system is accepted there.  If root is -1, it is one of the host.
 * Returns  the master's descriptor, or -1
 * errors   ENODEV  when there is no devpts
 * source   pts(4), openat2(2)
 */
static int
pty_open(int root)
{
	int unlocked = 0, master = root == -1 ?
	    open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) : ptmx_open(root);

	if (master != -1 && ioctl(master, TIOCSPTLCK, &unlocked) == -1)
		fd_close(&master);
	return master;
}

static int
terminal_set(int slave, const struct command *command)
{
	return (command->modes != NULL &&
	    tcsetattr(slave, TCSANOW, command->modes) == -1) ||
	    (command->size != NULL &&
	    ioctl(slave, TIOCSWINSZ, command->size) == -1) ? -1 : 0;
}

/*
 * Makes a terminal for the command, on the host if the machine has no devpts,
 * and reports its master.  Its slave replaces those descriptors of the command
 * that are to be a terminal.
 */
static int
terminal_make(struct intermediate *i)
{
	struct command *command = &i->order->command;
	struct entry_report report = { .event = ENTRY_TERMINAL,
	    .id = i->order->id };
	int root = i->order->entry.root, master, slave;

	if (command->terminal == 0)
		return 0;
	master = pty_open(root);
	/* A shortage of descriptors or memory is not the machine's fault. */
	report.host_terminal = master == -1 && root != -1 &&
	    !error_is_temporary(errno);
	if (report.host_terminal)
		master = pty_open(-1);
	slave = master == -1 ? -1 : pty_peer(master);
	if (slave == -1 || terminal_set(slave, command) == -1)
		return -1;
	if (report_send(i->channel, &report, master) == -1)
		return -1;
	fd_close(&master);
	for (int n = 0; n < FDS_STANDARD; n++)
		if ((command->terminal & 1u << n) != 0) {
			command->fds[n] = slave;
			i->tty = n;
		}
	return 0;
}

#define LINUX_FSOPEN		430	/* on all architectures */
#define LINUX_FSCONFIG		431
#define LINUX_FSMOUNT		432
#define LINUX_FSOPEN_CLOEXEC	1
#define LINUX_FSCONFIG_CREATE	6
#define NULL_DEVICE		makedev(1, 3)

/*
 * Makes and opens a null device on a new file system that nobody else sees.
 * source   fsopen(2), fsmount(2)
 */
static int
null_make(void)
{
	int fd = -1, mount = -1;
	int context = (int)syscall(LINUX_FSOPEN, "tmpfs", LINUX_FSOPEN_CLOEXEC);
	mode_t mask = umask(0);

	if (context != -1 && syscall(LINUX_FSCONFIG, context,
	    LINUX_FSCONFIG_CREATE, NULL, NULL, 0) == 0)
		mount = (int)syscall(LINUX_FSMOUNT, context,
		    LINUX_FSOPEN_CLOEXEC, 0);
	if (mount != -1 && mkdirat(mount, "dev", 0755) == 0 &&
	    mknodat(mount, "dev/null", S_IFCHR | 0666, NULL_DEVICE) == 0)
		fd = openat(mount, "dev/null", O_RDWR | O_CLOEXEC);
	umask(mask);
	fd_close(&mount);
	fd_close(&context);
	return fd;
}

/* True if a descriptor is of a null device. */
static bool
is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	    st.st_rdev == NULL_DEVICE;
}

/* Opens the machine's own null device, or makes one. */
static int
null_open(int root)
{
	struct sys_open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = LINUX_RESOLVE_IN_ROOT | LINUX_RESOLVE_NO_MAGICLINKS |
		    LINUX_RESOLVE_NO_SYMLINKS,
	};
	int fd = -1, found = sys_openat2(root, "dev/null", &how);
	char path[32];

	text_format(path, sizeof(path), "/proc/self/fd/%d", found);
	if (found != -1 && is_null(found))
		fd = open(path, O_RDWR | O_CLOEXEC);
	fd_close(&found);
	return fd != -1 ? fd : null_make();
}

/*
 * Replaces the host's null device: root of a machine without a user namespace
 * can change the mode and owner of any file that it has open.
 */
static int
null_replace(struct intermediate *i)
{
	const struct entry_needs *entry = &i->order->entry;
	int *fds = i->order->command.fds, null = -1;

	if (entry->root == -1 || entry->namespaces[NAMESPACE_USER] != -1)
		return 0;
	for (int n = 0; n < FDS_STANDARD; n++) {
		if (!is_null(fds[n]))
			continue;
		if (null == -1 && (null = null_open(entry->root)) == -1)
			return -1;
		fds[n] = null;
	}
	return 0;
}

/* Makes the command's descriptors 0, 1 and 2; all others are above these. */
static int
descriptors_place(struct intermediate *i)
{
	for (int n = 0; n < FDS_STANDARD; n++)
		if (dup2(i->order->command.fds[n], n) == -1)
			return -1;
	return 0;
}

/* ---- entry: the environment ---------------------------------------- */

/* Sets NAME=VALUE; if it is already set and keep is true, that stays. */
static void
variable_set(struct intermediate *i, char *variable, bool keep)
{
	size_t length = strcspn(variable, "=") + 1;
	char **place = i->environment;

	while (*place != NULL && strncmp(*place, variable, length) != 0)
		place++;
	if (*place == NULL || !keep)
		*place = variable;
}

/* Sets the variables that describe the account. */
static void
variables_set_account(struct intermediate *i)
{
	const struct account *account = &i->account;
	const struct {
		const char *name, *value;
	} variables[ACCOUNT_VARIABLES] = {
		{ "HOME", account->home }, { "USER", account->name },
		{ "LOGNAME", account->name }, { "SHELL", account->shell },
		{ "container", "systemd-nspawn" },
	};
	/* The last one is only set for a command in the machine's root. */
	int count = i->order->entry.root != -1 ? ACCOUNT_VARIABLES :
	    ACCOUNT_VARIABLES - 1;

	for (int n = 0; n < count; n++) {
		text_format(i->variables[n], sizeof(i->variables[n]), "%s=%s",
		    variables[n].name, variables[n].value);
		variable_set(i, i->variables[n], false);
	}
}

#define MACHINE_PATH	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:" \
			"/sbin:/bin"

static int
environment_apply(struct intermediate *i)
{
	static char path[] = "PATH=" MACHINE_PATH;
	const struct command *command = &i->order->command;

	umask(022);
	/* order_pointers() has counted the room for all of them. */
	for (char *const *v = command->defaults; *v != NULL; v++)
		variable_set(i, *v, false);
	variable_set(i, path, i->order->entry.root == -1);
	variables_set_account(i);
	for (char *const *v = command->variables; *v != NULL; v++)
		variable_set(i, *v, false);
	environ = i->environment;
	return 0;
}

/* ---- entry: namespaces and root directory -------------------------- */

/*
 * Sets the leader's limits.  A lower limit stays where we may not raise it:
 * that needs CAP_SYS_RESOURCE.
 */
static int
limits_apply(struct intermediate *i)
{
	const struct confinement_limit *limits =
	    i->order->entry.confinement.limits;

	for (int n = 0; n < CONFINEMENT_LIMITS; n++)
		if (syscall(SYS_prlimit64, 0, n, &limits[n], NULL) == -1 &&
		    errno != EPERM)
			return -1;
	return 0;
}

/* Sets the leader's groups, before a user namespace can forbid it. */
static int
groups_apply(struct intermediate *i)
{
	return sys_setgroups(i->order->entry.group_count,
	    i->order->entry.groups);
}

/*
 * Joins all namespaces except the user namespace.  If one fails, the step names
 * it.
 */
static int
namespaces_join_first(struct intermediate *i)
{
	int fds[NAMESPACES], failed, n;

	memcpy(fds, i->order->entry.namespaces, sizeof(fds));
	fds[NAMESPACE_USER] = -1;
	n = namespaces_join(fds, &failed);
	if (n == -1)
		i->page->step = NAMESPACE_STEP + failed;
	return n;
}

/* Before the user namespace is joined: after that it could not be lowered. */
static int
oom_score_apply(struct intermediate *i)
{
	return oom_score_write(i->oom_score,
	    i->order->entry.confinement.oom_score_adj);
}

static int
user_namespace_join(struct intermediate *i)
{
	int fd = i->order->entry.namespaces[NAMESPACE_USER];

	return fd == -1 ? 0 : setns(fd, CLONE_NEWUSER);
}

/* Takes the leader's root, which need not be that of its mount namespace. */
static int
root_change(struct intermediate *i)
{
	int root = i->order->entry.root;

	return root != -1 && (fchdir(root) == -1 || chroot(".") == -1) ?
	    -1 : 0;
}

static int
root_become(struct intermediate *i)
{
	(void)i;
	return sys_setresgid(0) == -1 || sys_setresuid(0) == -1 ? -1 : 0;
}

/* ---- entry: capabilities and filters ------------------------------- */

/*
 * Drops all other capabilities from the bounding set.  Before the change of
 * user, which takes away the capability that this needs.
 */
static int
bounding_apply(struct intermediate *i)
{
	uint64_t bounding = i->order->entry.confinement.bounding;

	for (unsigned long n = 0; n < 64; n++)
		if ((bounding >> n & 1) == 0 &&
		    prctl(PR_CAPBSET_DROP, n, 0, 0, 0) == -1) {
			if (errno != EINVAL)
				return -1;
			break;		/* this kernel has no more of them */
		}
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == -1 ||
	    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == -1 ? -1 : 0;
}

/* Becomes the user in the machine. */
static int
account_apply(struct intermediate *i)
{
	/* Without groups there is nothing to do: it has none already. */
	return (i->group_count != 0 &&
	    sys_setgroups(i->group_count, i->groups) == -1) ||
	    sys_setresgid(i->account.gid) == -1 ||
	    sys_setresuid(i->account.uid) == -1 ? -1 : 0;
}

#define LINUX_CAPABILITY_VERSION_3	0x20080522

/* Drops all capabilities that are not in set; adds none. */
static int
capabilities_set(uint64_t set)
{
	struct {
		uint32_t	version;
		int		pid;
	} header = { .version = LINUX_CAPABILITY_VERSION_3, .pid = 0 };
	struct {
		uint32_t	effective, permitted, inheritable;
	} data[2];

	if (syscall(SYS_capget, &header, data) == -1)
		return -1;
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(set >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return (int)syscall(SYS_capset, &header, data);
}

/* Returns the capabilities of a command that is confined. */
static uint64_t
capabilities_final(const struct intermediate *i)
{
	return i->order->entry.confined && i->account.uid == 0 ?
	    i->order->entry.confinement.bounding : 0;
}

#define LINUX_CAP_SYS_ADMIN	21

/*
 * Drops the capabilities that the command must not have, except the one that is
 * needed to apply filters.  A filter can fake that this one is dropped later;
 * but without no_new_privs only a process that had it could make that filter.
 */
static int
capabilities_apply(struct intermediate *i)
{
	const struct confinement *c = &i->order->entry.confinement;
	uint64_t set = capabilities_final(i);

	if (c->filtered && !c->no_new_privs)
		set |= UINT64_C(1) << LINUX_CAP_SYS_ADMIN;
	i->capabilities = set;
	if (capabilities_set(set) == -1)
		return -1;
	return c->no_new_privs ? prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) : 0;
}

/* Nobody may look into this process, and only 0, 1 and 2 stay open. */
static int
process_seal(struct intermediate *i)
{
	(void)i;
	fds_close_from(STDERR_FILENO + 1);
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1 ? -1 : 0;
}

#define LINUX_SECCOMP_SET_MODE_FILTER	1

static int
filters_apply(struct intermediate *i)
{
	const struct filters *filters = &intermediate_filters;
	const struct filter_step *steps = filters->steps;

	(void)i;
	for (size_t n = 0; n < filters->count; n++) {
		struct {
			unsigned short			 length;
			const struct filter_step	*steps;
		} program = { (unsigned short)filters->lengths[n], steps };

		if (syscall(SYS_seccomp, LINUX_SECCOMP_SET_MODE_FILTER, 0,
		    &program) == -1)
			return -1;
		steps += filters->lengths[n];
	}
	return 0;
}

/* ---- entry: the intermediate's steps ------------------------------- */

/*
 * Forks the command, as a child of the monitor.  A filter can fake the result,
 * so the child is recognised by own: only the kernel writes to it, and only in
 * the child.
 */
static int
command_make(struct intermediate *i)
{
	static volatile pid_t own;
	long n;

	if (i->capabilities != capabilities_final(i))
		capabilities_set(capabilities_final(i));
	errno = 0;
	/* One of the last two is used: which one depends on the processor. */
	n = syscall(SYS_clone, CLONE_PARENT | CLONE_PARENT_SETTID |
	    CLONE_CHILD_SETTID | SIGCHLD, 0, &i->page->command, &own, &own);
	if (own != 0)
		command_main(i);
	if (n == -1)
		return -1;
	return 0;
}

/*
 * What an intermediate does, in this order; a message says "cannot" + words.
 * The first and the last are others' work, of which it reports failures.
 */
static const struct {
	char	 words[STEP_WORDS_SIZE];
	bool	 confining;	/* not done for a privileged command */
	int	(*apply)(struct intermediate *i);
} steps[] = {
	{ "create a process to enter it", false, NULL },
	{ "leave the caller's session", false, session_leave },
	{ "join the cgroups of its leader", true, cgroups_join },
	{ "raise its OOM score", true, oom_score_raise },
	{ "leave the caller's session keyring", true, keyring_leave },
	{ "reset the caller's securebits", true, securebits_reset },
	{ "apply its leader's security label", true, label_apply },
	{ "copy its system call filters", true, filters_fetch },
	{ "check the confinement of its leader", true, leader_verify },
	{ "read its /etc/passwd", false, account_find },
	{ "read its /etc/group", false, group_find },
	{ "find the groups of the user", false, groups_find },
	{ "create a terminal", false, terminal_make },
	{ "open its null device", false, null_replace },
	{ "set up the command's descriptors", false, descriptors_place },
	{ "give the terminal to the user", false, terminal_chown },
	{ "set the command's environment", false, environment_apply },
	{ "apply its leader's scheduling", true, scheduling_apply },
	{ "apply its leader's limits", true, limits_apply },
	{ "set its leader's groups", false, groups_apply },
	{ "join its namespaces", false, namespaces_join_first },
	{ "apply its leader's OOM score", true, oom_score_apply },
	{ "join its user namespace", false, user_namespace_join },
	{ "change to its root directory", false, root_change },
	{ "become its root", false, root_become },
	{ "limit its capabilities", true, bounding_apply },
	{ "become its user", false, account_apply },
	{ "drop the capabilities its leader lacks", true, capabilities_apply },
	{ "close the host's descriptors", false, process_seal },
	/* From here on the machine's filters can fake any result. */
	{ "apply its system call filters", true, filters_apply },
	{ "create a process in it", false, command_make },
	{ "execute the command", false, NULL },
};

#define STEPS		((int)(sizeof(steps) / sizeof(steps[0])))

/* The steps of a report: after those of entry_read(). */
#define STEP_FIRST	READINGS
#define STEP_EXECUTE	(READINGS + STEPS - 1)

/* Runs all steps of an intermediate, and ends. */
static _Noreturn void
intermediate_main(struct intermediate *i)
{
	struct page *page = i->page;

	if (madvise(page, sizeof(*page), MADV_DONTFORK) == -1)
		page->error = errno;
	for (int n = 1; n < STEPS - 1 && page->error == 0; n++) {
		if (steps[n].confining && !i->order->entry.confined)
			continue;
		page->step = STEP_FIRST + n;
		if (steps[n].apply(i) == -1)
			page->error = errno == 0 ? EPERM : errno;
	}
	sys_exit(page->error != 0);
}

/* ---- entry: the monitor's jobs ------------------------------------- */

#define EXEC_CHECK_TIME	5	/* ms, between two checks for an exec */
#define KILL_TIME	1000	/* ms, from KILL to the end */
#define HANG_UP_TIME	5000	/* ms, from HUP to KILL */

enum stage {
	STAGE_ENTERING,		/* the intermediate is running */
	STAGE_STARTING,		/* the command exists, before its exec */
	STAGE_RUNNING,		/* the command has been executed */
	STAGE_HUNG_UP,		/* it got HUP, and is given time to end */
	STAGE_KILLED,		/* it got KILL */
	STAGE_HELD,		/* it has ended, but a tracer holds it */
};

/* An order that is being carried out. */
struct job {
	int		 id;
	bool		 detached;
	enum stage	 stage;
	struct process	 process;	/* the intermediate or the command */
	struct page	*page;		/* NULL: the intermediate has ended */
	int64_t		 deadline;	/* of the stage */
	int64_t		 entry_deadline;
	int		 signal;	/* came before the command; 0: none */
	bool		 stopped;	/* the command is to start stopped */
	bool		 reaped;	/* only its process group is left */
};

#define JOBS_MAX	4096

struct jobs {
	size_t		 count;
	int		 channel;	/* -1: the caller has ended */
	int		 error;		/* why no order can be taken; or 0 */
	bool		 last;		/* no more orders come */
	struct received	 received;	/* the order that came last */
	struct job	 jobs[JOBS_MAX];
	struct pollfd	 fds[JOBS_MAX + 1];
};

#define LINUX_CLONE_INTO_CGROUP	UINT64_C(0x200000000)

/* struct clone_args of Linux 5.7. */
struct linux_clone_args {
	uint64_t	flags, pidfd, child_tid, parent_tid, exit_signal;
	uint64_t	stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

/* Like sys_fork(), but the child is in that cgroup of v2. */
static pid_t
fork_into(int cgroup)
{
	struct linux_clone_args args = {
		.flags = LINUX_CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* Joins a cgroup of v2 after the fork, for fork_into() needs Linux 5.7. */
static void
cgroup_join_late(int cgroup, struct page *page)
{
	int procs = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (procs == -1 || write(procs, "0", 1) == -1)
		page->error = errno;
	fd_close(&procs);
}

/* Opens the leader's cgroup of v2 again, under the descriptor of entry. */
static int
entry_reopen_cgroup(const struct entry_needs *entry)
{
	struct cgroup_line line;
	struct stream stream;
	struct host host;
	int fd = -1, n = -1;

	if (host_open("/proc", NULL, &host) == -1)
		return -1;
	if (proc_stream(host.proc, entry->leader.pid, "cgroup",
	    &stream) == 0) {
		while (fd == -1 && cgroup_line_next(&stream, &line))
			if (line.hierarchy[0] == '\0')
				fd = cgroup_open(&host, &line);
		stream_close(&stream);
	}
	if (fd != -1)
		n = dup3(fd, entry->cgroup, O_CLOEXEC);
	fd_close(&fd);
	host_close(&host);
	return n == -1 ? -1 : 0;
}

/*
 * Forks the intermediate.  A PID 1 that has just been started may have moved to
 * another cgroup, so that its old one cannot have processes any more.
 */
static pid_t
intermediate_fork(const struct entry_needs *entry, struct page *page)
{
	pid_t pid;
	int error;

	if (entry->cgroup == -1)
		return sys_fork();
	pid = fork_into(entry->cgroup);
	for (int i = 1; pid == -1 && i < CGROUP_TRIES && (errno == EBUSY ||
	    errno == ENODEV || errno == EOPNOTSUPP); i++) {
		error = errno;
		if (entry_reopen_cgroup(entry) == -1) {
			errno = error;
			return -1;
		}
		pid = fork_into(entry->cgroup);
	}
	/* Linux before 5.7, or clone3(2) is forbidden. */
	if (pid == -1 && (errno == ENOSYS || errno == EPERM ||
	    errno == EINVAL || errno == E2BIG)) {
		pid = sys_fork();
		if (pid == 0)
			cgroup_join_late(entry->cgroup, page);
	}
	return pid;
}

/*
 * Sends a report to the caller, if that has not ended.  If this fails for
 * another reason, the monitor ends, and the caller notices that.
 */
static void
jobs_report(const struct jobs *jobs, const struct entry_report *report)
{
	if (jobs->channel != -1 &&
	    report_send(jobs->channel, report, -1) == -1 &&
	    errno != EPIPE && errno != ECONNRESET)
		sys_exit(EXIT_FAILURE);
}

/* Reports on a job; status is that of its process, if that has ended. */
static void
job_report(const struct jobs *jobs, const struct job *job,
    enum entry_event event, int status)
{
	struct entry_report report = { .event = event, .id = job->id,
	    .status = status, .step = STEP_EXECUTE };

	if (job->page != NULL) {
		report.step = job->page->step;
		report.error = job->page->error;
		report.tracer = job->page->tracer;
		/* Without an error a filter has faked a success. */
		if (report.error == 0 && status == 0)
			report.error = EPERM;
	}
	jobs_report(jobs, &report);
}

/* Reports on an order for which no intermediate could be made. */
static void
job_refuse(const struct jobs *jobs, int id, int error)
{
	struct entry_report report = { .event = ENTRY_FAILED, .id = id,
	    .step = STEP_FIRST, .error = error };

	jobs_report(jobs, &report);
}

/* Signals the command and its process group. */
static void
command_signal(const struct job *job, int signal)
{
	/* A child keeps its number until it is waited for. */
	if (kill(-job->process.pid, signal) == -1)	/* not yet a group */
		kill(job->process.pid, signal);
}

#define LINUX_PIDFD_SIGNAL_PROCESS_GROUP	0x4

/* Signals the command's process group, even after the command was reaped. */
static int
group_signal(const struct job *job, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, job->process.fd, signal,
	    NULL, LINUX_PIDFD_SIGNAL_PROCESS_GROUP);
}

static void
job_stage(struct job *job, enum stage stage, int64_t deadline)
{
	job->stage = stage;
	job->deadline = deadline;
}

static void
job_kill(struct job *job)
{
	process_signal(&job->process, SIGKILL);
	job_stage(job, STAGE_KILLED, deadline_in(KILL_TIME));
}

/* Makes the command end when the caller has ended. */
static void
job_hang_up(struct job *job)
{
	if (job->detached)
		return;
	if (job->stage == STAGE_ENTERING)
		job_kill(job);
	else if (job->stage != STAGE_KILLED && job->stage != STAGE_HELD) {
		command_signal(job, SIGHUP);
		command_signal(job, SIGCONT);
		job_stage(job, STAGE_HUNG_UP, deadline_in(HANG_UP_TIME));
	}
}

/*
 * Finds out whether the process still runs our own program: its exec is not
 * done.
 * Returns  1 for yes, 0 for no; -1
 */
static int
is_own_image(const struct process *process)
{
	char path[32], own[PATH_MAX], theirs[PATH_MAX];
	ssize_t n, m;

	/* Only the links are read: opening their targets may block. */
	text_format(path, sizeof(path), "/proc/%d/exe", process->pid);
	n = readlink("/proc/self/exe", own, sizeof(own));
	m = readlink(path, theirs, sizeof(theirs));
	/* It has no link once its first thread has ended; ours has no other. */
	if (m == -1 && errno == ENOENT && process_alive(process))
		return 0;
	if (n == -1 || m == -1)
		return -1;
	return n == m && memcmp(own, theirs, (size_t)n) == 0;
}

/* Takes over the command of an intermediate.  True if there is one. */
static bool
job_start_command(const struct jobs *jobs, struct job *job)
{
	pid_t pid = job->page->command;
	siginfo_t info;

	/* The number must be that of a child of ours. */
	if (pid <= 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG |
	    WNOWAIT) == -1)
		return false;
	if (process_open(pid, &job->process) == -1) {
		job->page->error = errno;
		kill(pid, SIGKILL);
		return false;
	}
	munmap(job->page, sizeof(*job->page));
	job->page = NULL;
	job_stage(job, STAGE_STARTING, job->detached ?
	    deadline_in(EXEC_CHECK_TIME) : job->entry_deadline);
	if (job->signal != 0)
		command_signal(job, job->signal);
	if (job->stopped)
		command_signal(job, SIGSTOP);
	if (jobs->channel == -1)
		job_hang_up(job);
	return true;
}

/* True for the signals of __builtin_trap(), see sys_exit(). */
static bool
is_exit_trap(int status)
{
	return WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGTRAP;
}

/*
 * Acts when an intermediate has ended.
 * Returns  true if the job is over, too
 */
static bool
job_intermediate_ended(const struct jobs *jobs, struct job *job, int status)
{
	if (job_start_command(jobs, job))
		return false;
	if (job->signal != 0)
		job_report(jobs, job, ENTRY_ENDED, job->signal);
	else if (job->stage == STAGE_KILLED)
		job_report(jobs, job, ENTRY_LATE, 0);
	else
		job_report(jobs, job, ENTRY_FAILED, job->page->error == 0 &&
		    WIFSIGNALED(status) && !is_exit_trap(status) ? status : 0);
	return true;
}

/* Retries for a while to reap a process that has ended. */
static void
job_hold(struct job *job)
{
	if (job->stage != STAGE_HELD)
		job->entry_deadline = deadline_in(KILL_TIME);
	job_stage(job, STAGE_HELD, deadline_in(EXEC_CHECK_TIME));
}

/*
 * Acts when the process of a job has ended.
 * Returns  true if the job is over, too
 */
static bool
job_process_ended(const struct jobs *jobs, struct job *job)
{
	bool late = job->stage == STAGE_KILLED;
	int status;

	if (job->stage == STAGE_HUNG_UP && job->page == NULL &&
	    group_signal(job, 0) == -1 && errno != ESRCH)
		command_signal(job, SIGKILL);	/* before Linux 6.9 */
	/*
	 * A tracer in the machine is told first, and may never let it go.  A
	 * status that cannot be read is not taken for a success, either.
	 */
	if (waitpid(job->process.pid, &status, WNOHANG) <= 0) {
		job_hold(job);
		return false;
	}
	if (job->page != NULL) {
		process_close(&job->process);
		return job_intermediate_ended(jobs, job, status);
	}
	job_report(jobs, job, late ? ENTRY_LATE : ENTRY_ENDED, status);
	job->reaped = true;
	return job->stage != STAGE_HUNG_UP || group_signal(job, 0) == -1;
}

/*
 * Checks whether the command has been executed; no event tells that.  For a
 * detached command the caller waits for this.
 */
static void
job_check_exec(const struct jobs *jobs, struct job *job)
{
	if (is_own_image(&job->process) == 0) {
		if (job->detached)
			job_report(jobs, job, ENTRY_STARTED, 0);
		job_stage(job, STAGE_RUNNING, DEADLINE_NEVER);
	} else if (deadline_left(job->entry_deadline) == 0)
		job_kill(job);
	else
		job->deadline = deadline_in(EXEC_CHECK_TIME);
}

/*
 * Acts when the time of a stage is over.
 * Returns  true if the job is over, too
 */
static bool
job_late(const struct jobs *jobs, struct job *job)
{
	switch (job->stage) {
	case STAGE_STARTING:
		job_check_exec(jobs, job);
		break;
	case STAGE_ENTERING:
		job_kill(job);
		break;
	case STAGE_HUNG_UP:
		group_signal(job, SIGKILL);
		if (job->reaped)
			return true;
		command_signal(job, SIGKILL);
		process_signal(&job->process, SIGKILL);
		/* The caller has ended: nobody waits for a report. */
		job_stage(job, STAGE_KILLED, DEADLINE_NEVER);
		break;
	case STAGE_KILLED:
		job_report(jobs, job, ENTRY_LATE, 0);
		return true;
	case STAGE_HELD:
		if (deadline_left(job->entry_deadline) != 0)
			return job_process_ended(jobs, job);
		job_report(jobs, job, ENTRY_HELD, 0);
		return true;
	case STAGE_RUNNING:
		break;
	}
	return false;
}

static void
job_close(struct job *job)
{
	if (job->page != NULL)
		munmap(job->page, sizeof(*job->page));
	process_close(&job->process);
}

static pid_t
job_fork(const struct jobs *jobs, struct order *order, const struct job *job)
{
	static struct intermediate i;
	int64_t time = order->command.time;
	pid_t pid;

	i.order = order;
	i.page = job->page;
	i.channel = jobs->channel;
	i.environment = order->environment;
	i.oom_score = i.tty = -1;
	i.capabilities = 0;
	/* Earlier than the job's own, so that it can still report why. */
	i.deadline = deadline_in(time - time / 20);
	pid = intermediate_fork(&order->entry, job->page);
	if (pid == 0)
		intermediate_main(&i);
	return pid;
}

/* Starts a job with its intermediate. */
static int
job_open(const struct jobs *jobs, struct order *order, struct job *job)
{
	pid_t pid;

	*job = (struct job){ .id = order->id, .process = PROCESS_NONE,
	    .detached = order->command.detached,
	    .entry_deadline = deadline_in(order->command.time) };
	job->deadline = job->entry_deadline;
	job->page = mmap(NULL, sizeof(*job->page), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (job->page == MAP_FAILED) {
		job->page = NULL;
		return -1;
	}
	job->page->step = STEP_FIRST;
	pid = job_fork(jobs, order, job);
	/* Intermediates for other machines must not have this page. */
	if (pid == -1 || madvise(job->page, sizeof(*job->page),
	    MADV_DONTFORK) == -1 || process_open(pid, &job->process) == -1) {
		int error = errno;

		if (pid != -1)
			kill(pid, SIGKILL);
		job_close(job);
		errno = error;
		return -1;
	}
	return 0;
}

/* ---- entry: the monitor -------------------------------------------- */

/* Allows the processors of the parent again: undoes processor_keep(). */
static void
processors_restore(void)
{
	unsigned long set[CONFINEMENT_PROCESSORS / (8 * sizeof(unsigned long))];
	long n = syscall(SYS_sched_getaffinity, getppid(), sizeof(set), set);

	if (n > 0)
		syscall(SYS_sched_setaffinity, 0, n, set);
}

static void
jobs_order(struct jobs *jobs, const struct instruction *instruction,
    struct received *received)
{
	errno = jobs->count == JOBS_MAX ? ENOBUFS : jobs->error;
	if (errno == 0 && received_read(received, instruction->pointers) == 0 &&
	    job_open(jobs, received->order, &jobs->jobs[jobs->count]) == 0) {
		jobs->count++;
		jobs->last = received->order->command.last;
		processors_restore();
		return;
	}
	job_refuse(jobs, instruction->id, errno);
}

static void
jobs_signal(struct jobs *jobs, int id, int signal)
{
	for (size_t i = 0; i < jobs->count; i++) {
		struct job *job = &jobs->jobs[i];

		if (job->id != id || job->reaped || job->stage == STAGE_HELD)
			continue;
		if (job->page == NULL) {
			command_signal(job, signal);
			/* A stopped command must continue to end. */
			if (signal == SIGHUP || signal == SIGINT ||
			    signal == SIGQUIT || signal == SIGTERM)
				command_signal(job, SIGCONT);
		} else if (signal == SIGSTOP || signal == SIGCONT)
			job->stopped = signal == SIGSTOP;
		else if (job->signal == 0) {
			job->signal = signal;
			job_kill(job);
		}
	}
}

/* Hangs up all jobs: the caller has ended or closed the channel. */
static void
jobs_hang_up(struct jobs *jobs)
{
	fd_close(&jobs->channel);
	for (size_t i = 0; i < jobs->count; i++)
		job_hang_up(&jobs->jobs[i]);
}

/* Takes and carries out the next instruction. */
static void
jobs_instruct(struct jobs *jobs)
{
	struct instruction instruction = { .id = -1 };
	struct received *received = &jobs->received;
	int n = packet_receive(jobs->channel, &instruction,
	    sizeof(instruction), received->fds, &received->fd_count);

	if (n == -1 && errno == EMFILE)
		job_refuse(jobs, instruction.id, errno);
	else if (n == -1)
		jobs_hang_up(jobs);
	else if (instruction.signal != 0)
		jobs_signal(jobs, instruction.id, instruction.signal);
	else
		jobs_order(jobs, &instruction, received);
}

/* True while there are jobs, or more orders may come. */
static bool
jobs_remain(const struct jobs *jobs)
{
	return jobs->count > 0 || (jobs->channel != -1 && !jobs->last);
}

/* Waits for the next event or deadline.  False if poll(2) fails. */
static bool
jobs_wait(struct jobs *jobs)
{
	int64_t next = DEADLINE_NEVER;
	size_t i;
	int n;

	for (i = 0; i < jobs->count; i++) {
		const struct job *job = &jobs->jobs[i];

		jobs->fds[i] = (struct pollfd){ job->reaped ||
		    job->stage == STAGE_HELD ? -1 : job->process.fd, POLLIN,
		    0 };
		if (job->deadline < next)
			next = job->deadline;
	}
	jobs->fds[i] = (struct pollfd){ jobs->channel, POLLIN, 0 };
	n = poll(jobs->fds, i + 1, deadline_left(next));
	/* Not earlier: the intermediate was to get this processor first. */
	received_close(&jobs->received);
	return n != -1 || errno == EINTR;
}

/* Handles the jobs that have an event or whose deadline is over. */
static void
jobs_attend(struct jobs *jobs)
{
	size_t left = 0;

	for (size_t i = 0; i < jobs->count; i++) {
		struct job job = jobs->jobs[i];
		bool over = false;

		if ((jobs->fds[i].revents & POLLNVAL) != 0)
			sys_exit(EXIT_FAILURE);
		if (jobs->fds[i].revents != 0)
			over = job_process_ended(jobs, &job);
		else if (deadline_left(job.deadline) == 0)
			over = job_late(jobs, &job);
		if (over)
			job_close(&job);
		else
			jobs->jobs[left++] = job;
	}
	jobs->count = left;
}

/*
 * Gives a signal its default disposition.  A libc's sigaction() refuses the
 * signals that it uses itself.
 */
static void
sys_signal_default(int signal)
{
	/* As large as any kernel's struct sigaction: SIG_DFL, no flags. */
	static const uint64_t action[8];

	syscall(SYS_rt_sigaction, signal, action, NULL, SIGNAL_RTMAX / 8);
}

/* The command line of a monitor. */
static const char monitor_word[] = "nspawn-monitor";

void
monitor_main(char **argv)
{
	static struct jobs jobs;

	if (argv[0] == NULL || strcmp(argv[0], monitor_word) != 0 ||
	    !self_is_sealed())
		return;
	signals_block();
	/* If the caller ignored CHLD, the kernel would reap our children. */
	for (int n = 1; n <= SIGNAL_RTMAX; n++)
		sys_signal_default(n);
	fds_close_from(STDERR_FILENO + 1);
	jobs.channel = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, FDS_STANDARD);
	jobs.received.memory = MAP_FAILED;
	if (jobs.channel == -1 || dup2(STDOUT_FILENO, STDIN_FILENO) == -1)
		sys_exit(EXIT_FAILURE);
	prctl(PR_SET_NAME, monitor_word);	/* it was a number */
	/* It must not keep the caller's directory in use. */
	if (setsid() == -1 || chdir("/") == -1)
		jobs.error = errno;
	while (jobs_remain(&jobs) && jobs_wait(&jobs)) {
		bool instructed = jobs.fds[jobs.count].revents != 0;

		jobs_attend(&jobs);
		if (instructed)
			jobs_instruct(&jobs);
	}
	sys_exit(jobs_remain(&jobs) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/*
 * Executes a sealed copy of this program as a monitor.
 *   stays    whether it stays on this processor until its first intermediate
 *            is made; that then takes over the leader's processors
 */
static int
monitor_spawn(int channel, bool stays, pid_t *pid)
{
	const char *const argv[] = { monitor_word, NULL };
	char *environment[] = { NULL }, path[32];
	struct program program = { path, argv, environment,
	    { channel, -1, -1 }, stays };
	int self, copy, n;

	/* Without monitor_main() it would start itself without end. */
	if (strcmp(program_invocation_name, monitor_word) == 0) {
		errno = ELOOP;
		return -1;
	}
	self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (self == -1)
		return -1;
	copy = sealed_copy(self);
	fd_close(&self);
	if (copy == -1)
		return -1;
	text_format(path, sizeof(path), "/proc/self/fd/%d", copy);
	n = program_start(&program, pid);
	fd_close(&copy);
	return n;
}

int
monitor_order(struct monitor *monitor, int id, const struct entry_needs *entry,
    const struct command *command)
{
	int ends[2], n;

	if (monitor->channel != -1)
		return order_send(monitor->channel, id, entry, command);
	/* A libc's socketpair() has code for kernels without this flag. */
	if (syscall(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
	    ends) == -1)
		return -1;
	/* Sent first: the monitor finds it, and does not wait for it. */
	n = order_send(ends[0], id, entry, command);
	if (n == 0)
		n = monitor_spawn(ends[1], !command->privileged,
		    &monitor->pid);
	fd_close(&ends[1]);
	if (n == -1)
		fd_close(&ends[0]);
	else
		monitor->channel = ends[0];
	return n;
}

#define MONITOR_END_TIME	100	/* ms, for a monitor without commands */

void
monitor_close(struct monitor *monitor)
{
	struct process process = PROCESS_NONE;
	struct pollfd ended = { .events = POLLIN };
	int error = errno;

	fd_close(&monitor->channel);
	/* The monitor ends at once if it has no commands left. */
	if (monitor->pid != 0 && process_open(monitor->pid, &process) == 0) {
		ended.fd = process.fd;
		poll(&ended, 1, MONITOR_END_TIME);
		process_close(&process);
		waitpid(monitor->pid, NULL, WNOHANG);
	}
	monitor->pid = 0;
	errno = error;
}

/* ---- entry: words -------------------------------------------------- */

/* Returns the words for a step of an intermediate or of entry_read(). */
static const char *
step_words(int step, char words[STEP_WORDS_SIZE])
{
	const char *name;

	if (step >= STEP_FIRST && step < STEP_FIRST + STEPS)
		return steps[step - STEP_FIRST].words;
	if (step >= 0 && step < READINGS)
		return readings[step].words;
	if (step < NAMESPACE_STEP || step >= NAMESPACE_STEP + NAMESPACES)
		return "enter it";
	name = namespace_name(step - NAMESPACE_STEP);
	text_format(words, STEP_WORDS_SIZE, "join its %s namespace", name);
	return words;
}

/* Writes why the leader's filters could not be copied. */
static void
filters_words(const struct entry_report *report, char *text, size_t size)
{
	static const char cannot[] =
	    "cannot copy its system call filters";

	if (report->tracer != 0)
		text_format(text, size, "%s: process %d traces its leader; try"
		    " again when that process has ended", cannot,
		    report->tracer);
	else if (report->error == EACCES && prctl(PR_GET_SECCOMP) != 0)
		text_format(text, size, "%s: the caller has filters itself"
		    " (as in a unit with SystemCallFilter=, RestrictNamespaces="
		    " or the like), so the kernel does not show others; enter"
		    " from outside that unit", cannot);
	else if (report->error == EACCES)
		text_format(text, size, "%s: only CAP_SYS_ADMIN of the host can"
		    " read them", cannot);
	else if (report->error == EPERM)
		text_format(text, size, "%s: %s; a process of another PID"
		    " namespace may trace its leader", cannot,
		    strerror(EPERM));
	else
		text_format(text, size, "%s: %s", cannot,
		    strerror(report->error));
}

/* Writes which user or group the machine does not have. */
static void
account_words(const char *who, const char *kind, const char *file, char *text,
    size_t size)
{
	char clean[ACCOUNT_TEXT_MAX];
	uint64_t id;

	text_printable(who, clean, sizeof(clean));
	if (number_parse(who, ACCOUNT_ID_MAX, &id) == 0)
		text_format(text, size, "its %s has no %s %s; to use a number"
		    " that is not there, give %s:GROUP", file, kind, clean,
		    clean);
	else
		text_format(text, size, "its %s has no %s '%s'", file, kind,
		    clean);
}

enum entry_lack
entry_lacks(const struct entry_report *report)
{
	int n = report->step - STEP_FIRST;

	if (report->event != ENTRY_FAILED)
		return ENTRY_LACKS_OTHER;
	if (n >= 0 && n < STEPS && steps[n].apply == filters_fetch)
		return report->error == EPERM || report->error == ESRCH ?
		    ENTRY_LACKS_OTHER : ENTRY_LACKS_FILTERS;
	if (report->error == EAGAIN && (n == 0 ||
	    (n > 0 && n < STEPS && steps[n].apply == command_make)))
		return ENTRY_LACKS_PROCESSES;
	if ((n >= 0 && n < STEPS && steps[n].apply == cgroups_join) ||
	    (n < 0 && readings[report->step].read == entry_read_cgroups &&
	    report->error != EBUSY && !error_is_temporary(report->error)))
		return ENTRY_LACKS_CGROUPS;
	return ENTRY_LACKS_OTHER;
}

/* Writes what is known of a failure besides its errno.  False if nothing is. */
static bool
step_explain(const struct entry_report *report, const struct command *command,
    char *text, size_t size)
{
	int n = report->step - STEP_FIRST, error = report->error;
	int (*apply)(struct intermediate *i) = n >= 0 && n < STEPS ?
	    steps[n].apply : NULL;

	if (apply == filters_fetch)
		filters_words(report, text, size);
	else if (apply == account_find && error == ENOENT)
		account_words(command->user, "user", "/etc/passwd", text, size);
	else if (apply == group_find && error == ENOENT)
		account_words(command->group, "group", "/etc/group", text,
		    size);
	else if (apply == terminal_chown && error == ENOENT)
		text_format(text, size, "its user namespace has no such"
		    " user");
	else if (apply == command_make && error == ENOMEM)
		text_format(text, size, "cannot create a process in it: no"
		    " memory, or the machine is ending");
	else if (entry_lacks(report) == ENTRY_LACKS_PROCESSES)
		text_format(text, size, "cannot create a process in it: a limit"
		    " on processes is reached");
	else if (apply == account_apply && error == EINVAL)
		text_format(text, size, "its user namespace has no such user,"
		    " or lacks a group of the user");
	else
		return false;
	return true;
}

/*
 * Writes what a report means.  False if it is the failure of a step that is
 * better explained by its errno.
 */
static bool
event_explain(const struct entry_report *report,
    const struct command *command, char *text, size_t size)
{
	char buffer[STEP_WORDS_SIZE];
	const char *words = step_words(report->step, buffer);

	if (report->event == ENTRY_HELD)
		text_format(text, size, "the command has ended, but a tracer in"
		    " the machine keeps its status");
	else if (report->event == ENTRY_LATE)
		text_format(text, size, "was not entered within %d s, because"
		    " something in it hangs: cannot %s",
		    (int)((command->time + SECOND - 1) / SECOND), words);
	else if (report->step < READINGS && report->error == ESRCH)
		text_format(text, size, "its leader has just ended");
	else if (report->step < READINGS && report->error == EAGAIN)
		text_format(text, size, "is still starting: systemd-nspawn has"
		    " not executed its init yet");
	else if (report->step < READINGS && report->error == EBUSY)
		text_format(text, size, "is frozen, and runs nothing until it"
		    " is thawed; run systemctl thaw with its unit");
	else
		return false;
	return true;
}

const char *
entry_strerror(const struct entry_report *report,
    const struct command *command, char *text, size_t size)
{
	char buffer[STEP_WORDS_SIZE], name[SIGNAL_NAME_SIZE];
	const char *words = step_words(report->step, buffer);

	if (event_explain(report, command, text, size))
		return text;
	if (entry_lacks(report) == ENTRY_LACKS_CGROUPS &&
	    report->error == ENODEV)
		text_format(text, size, "cannot %s: this host has not mounted"
		    " all cgroup hierarchies", words);
	else if (report->error == ESTALE)
		text_format(text, size, "the confinement of its leader has just"
		    " changed; try again");
	else if (report->error == EOWNERDEAD)
		text_format(text, size, "cannot be entered: the first thread of"
		    " its leader has ended");
	else if (report->error == 0)
		text_format(text, size, "cannot %s: killed by %s", words,
		    signal_name(WTERMSIG(report->status), name));
	else if (!step_explain(report, command, text, size))
		text_format(text, size, "cannot %s: %s", words,
		    strerror(report->error));
	return text;
}

/* ---- account ------------------------------------------------------- */

/*
 * Takes the next field of a line of passwd(5).
 *   delimiter  what ended the previous field; ':' at the line's beginning
 * Returns  false if there is no field, or it does not fit
 */
static bool
field_next(struct stream *stream, int *delimiter, char *field, size_t size)
{
	if (*delimiter != ':')
		return false;
	*delimiter = stream_word(stream, ":\n", field, size);
	return *delimiter != '\0' && !stream->cut;
}

/* Takes the next field, which must be the number of a user or a group. */
static bool
field_id(struct stream *stream, int *delimiter, uint32_t *id)
{
	char text[16];
	uint64_t n;

	if (!field_next(stream, delimiter, text, sizeof(text)) ||
	    number_parse(text, ACCOUNT_ID_MAX, &n) == -1)
		return false;
	*id = (uint32_t)n;
	return true;
}

/* Takes the fields of one line.  True if they are valid. */
static bool
account_line(struct stream *stream, int *delimiter, struct account *account)
{
	char unused[2];		/* password and real name are cut */

	if (!field_next(stream, delimiter, account->name,
	    sizeof(account->name)) || *delimiter != ':')
		return false;
	*delimiter = stream_word(stream, ":\n", unused, sizeof(unused));
	if (!field_id(stream, delimiter, &account->uid) ||
	    !field_id(stream, delimiter, &account->gid) || *delimiter != ':')
		return false;
	*delimiter = stream_word(stream, ":\n", unused, sizeof(unused));
	if (!field_next(stream, delimiter, account->home,
	    sizeof(account->home)) || account->home[0] != '/')
		return false;
	account->shell[0] = '\0';
	return *delimiter != ':' || (field_next(stream, delimiter,
	    account->shell, sizeof(account->shell)) &&
	    (account->shell[0] == '/' || account->shell[0] == '\0'));
}

int
account_read(struct stream *passwd, const char *who, struct account *account)
{
	struct account line, numbered;
	bool by_name = false, by_number = false;
	int delimiter;
	uint64_t uid = 0;
	bool number = number_parse(who, ACCOUNT_ID_MAX, &uid) == 0;

	do {
		delimiter = ':';
		if (!account_line(passwd, &delimiter, &line))
			continue;
		by_name = strcmp(line.name, who) == 0;
		if (!by_number && number && line.uid == uid) {
			numbered = line;
			by_number = true;
		}
	} while (!by_name && stream_line(passwd, delimiter));
	if (passwd->error != 0 || (!by_name && !by_number)) {
		errno = passwd->error != 0 ? passwd->error : ENOENT;
		return -1;
	}
	*account = by_name ? line : numbered;
	return 0;
}

/* Takes the fields of a line of group(5) up to its members. */
static bool
group_line(struct stream *stream, int *delimiter, char name[ACCOUNT_TEXT_MAX],
    gid_t *gid)
{
	char password[2];

	if (!field_next(stream, delimiter, name, ACCOUNT_TEXT_MAX) ||
	    *delimiter != ':')
		return false;
	*delimiter = stream_word(stream, ":\n", password, sizeof(password));
	return field_id(stream, delimiter, gid);
}

int
account_group_read(struct stream *group, const char *who, gid_t *gid)
{
	char name[ACCOUNT_TEXT_MAX];
	int delimiter;
	uint64_t n;
	gid_t found;

	do {
		delimiter = ':';
		if (group_line(group, &delimiter, name, &found) &&
		    strcmp(name, who) == 0) {
			*gid = found;
			return 0;
		}
	} while (stream_line(group, delimiter));
	if (group->error != 0 ||
	    number_parse(who, ACCOUNT_ID_MAX, &n) == -1) {
		errno = group->error != 0 ? group->error : ENOENT;
		return -1;
	}
	*gid = (gid_t)n;
	return 0;
}

/* Takes the members of a line.  True if name is one of them. */
static bool
members_include(struct stream *stream, int *delimiter, const char *name)
{
	char member[ACCOUNT_TEXT_MAX];
	bool found = false;

	if (*delimiter != ':')
		return false;
	do {
		*delimiter = stream_word(stream, ",\n", member,
		    sizeof(member));
		found = found || (!stream->cut && strcmp(member, name) == 0);
	} while (*delimiter == ',');
	return found;
}

ssize_t
account_groups(struct stream *group, const char *name, gid_t *groups,
    size_t size)
{
	char line[ACCOUNT_TEXT_MAX];
	size_t count = 0;
	int delimiter;
	gid_t gid;

	do {
		delimiter = ':';
		if (!group_line(group, &delimiter, line, &gid) ||
		    !members_include(group, &delimiter, name))
			continue;
		if (count == size) {
			errno = E2BIG;
			return -1;
		}
		groups[count++] = gid;
	} while (stream_line(group, delimiter));
	errno = group->error;
	return group->error == 0 ? (ssize_t)count : -1;
}

/* Takes the next number of a line.  False at the line's end. */
static bool
line_id(struct stream *stream, int *delimiter, uint64_t *n)
{
	char digits[24] = "";

	while (*delimiter == ' ' && digits[0] == '\0')
		*delimiter = stream_word(stream, " \n", digits,
		    sizeof(digits));
	return !stream->cut && number_parse(digits, UINT32_MAX, n) == 0;
}

int
account_id_to_host(struct stream *map, uint32_t id, uint32_t *outside)
{
	uint64_t first, to, count;
	int delimiter;

	do {
		delimiter = ' ';
		if (line_id(map, &delimiter, &first) &&
		    line_id(map, &delimiter, &to) &&
		    line_id(map, &delimiter, &count) && id >= first &&
		    id - first < count && to + (id - first) <= ACCOUNT_ID_MAX) {
			*outside = (uint32_t)(to + (id - first));
			return 0;
		}
	} while (stream_line(map, delimiter));
	errno = map->error != 0 ? map->error : ENOENT;
	return -1;
}

/* ---- terminal ------------------------------------------------------ */

#define LINUX_TIOCGPTPEER	_IO('T', 0x41)

int
pty_peer(int master)
{
	return ioctl(master, LINUX_TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}
