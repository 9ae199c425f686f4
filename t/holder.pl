# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# usage: holder.pl DIRECTORY CGROUP PID TIME
#
# Keeps a process in CGROUP, so that it is not empty.  This program mounts a
# FUSE at DIRECTORY, and a process in CGROUP requests a file there.  The program
# reads the request and does not answer it.  So no signal ends that process
# until this program ends: by a signal, or TIME s after process PID has ended.

use strict;
use warnings;

my ($dir, $cgroup, $pid, $time) = @ARGV;
my $request;

$| = 1;
$^F = 99;	# mount(8) has to inherit the descriptor
open(my $fuse, "+<", "/dev/fuse") or die "/dev/fuse: $!";
my $fd = fileno($fuse);
system("mount", "-i", "-t", "fuse", "-o",
    "fd=$fd,rootmode=40000,user_id=0,group_id=0", "of-test", $dir) and die;
sysread($fuse, $request, 1 << 20) or die "FUSE_INIT: $!";
my (undef, undef, $unique) = unpack("LLQ", $request);
# Version 7.31; the fields after max_pages, 16, belong to later versions.
syswrite($fuse, pack("LlQ L4 S2 L2 S2 L8", 80, 0, $unique, 7, 31, 0, 0, 16, 12,
    65536, 1, 16, (0) x 9)) or die "FUSE_INIT: $!";
if (fork() == 0) {
	close($fuse);
	open(my $procs, ">", "$cgroup/cgroup.procs") or die "$cgroup: $!";
	syswrite($procs, "$$") or die "$cgroup: $!";
	stat("$dir/x");
	exit;
}
sysread($fuse, $request, 1 << 20) or die "no request: $!";
print "held\n";
select(undef, undef, undef, 0.02) while kill(0, $pid);
select(undef, undef, undef, $time);
