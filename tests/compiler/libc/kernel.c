// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Whatever one of the kernels numbers, flags or lays out otherwise than the others, used and looked at. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

static void open_flags(void)
{
	int fd = open("f", O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK, 0640), p[2];

	CHECK(fd >= 0);
	CHECK((fcntl(fd, F_GETFL) & ~O_LARGEFILE) == (O_RDWR | O_APPEND | O_NONBLOCK));
	CHECK(!fcntl(fd, F_SETFL, O_APPEND));
	CHECK((fcntl(fd, F_GETFL) & ~O_LARGEFILE) == (O_RDWR | O_APPEND));
	CHECK(open("f", O_RDONLY | O_DIRECTORY) < 0 && errno == ENOTDIR);
	CHECK(open(".", O_RDONLY | O_DIRECTORY) >= 0);
	CHECK(!symlink("f", "link"));
	CHECK(open("link", O_RDONLY) >= 0);
	CHECK(open("link", O_RDONLY | O_NOFOLLOW) < 0 && errno == ELOOP);
	CHECK(!pipe2(p, O_DIRECT | O_CLOEXEC) && fcntl(p[1], F_GETFL) & O_DIRECT);
	CHECK(fcntl(p[0], F_GETFD) == FD_CLOEXEC);
	close(fd);
}

static void stats(void)
{
	struct timespec times[2] = { { 1000000001, 123456789 }, { 1500000002, 987654321 } };
	struct stat st, other;
	struct statfs fs;
	int fd = open("s", O_RDWR | O_CREAT, 0604);

	CHECK(pwrite(fd, "x", 1, 70000) == 1 && !fchmod(fd, 0604) && !link("s", "s2"));
	CHECK(!futimens(fd, times));
	CHECK(!fstat(fd, &st));
	CHECK(st.st_size == 70001 && st.st_nlink == 2 && (st.st_mode & 0777) == 0604 && S_ISREG(st.st_mode));
	CHECK(st.st_uid == getuid() && st.st_gid == getgid() && st.st_blksize >= 512 && st.st_blocks < 200);
	CHECK(st.st_atim.tv_sec == 1000000001 && st.st_atim.tv_nsec == 123456789);
	CHECK(st.st_mtim.tv_sec == 1500000002 && st.st_mtim.tv_nsec == 987654321);
	CHECK(st.st_ctim.tv_sec > 1500000002);
	CHECK(!stat("s2", &other) && other.st_ino == st.st_ino && other.st_dev == st.st_dev);
	CHECK(!symlink("s", "sl") && !lstat("sl", &other) && S_ISLNK(other.st_mode) && other.st_size == 1);
	CHECK(!stat("/dev/null", &st) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	CHECK(!statfs("/proc", &fs) && fs.f_type == 0x9fa0);
	CHECK(fstat(-1, &st) < 0 && errno == EBADF);
	close(fd);
}

static void epolls(void)
{
	struct epoll_event ev[8];
	int e = epoll_create1(EPOLL_CLOEXEC), p[3][2], seen = 0;

	for (int i = 0; i < 3; i++) {
		CHECK(!pipe(p[i]) && write(p[i][1], "x", 1) == 1);
		ev[0] = (struct epoll_event){ .events = EPOLLIN, .data.u64 = 0x1122334455667700 + i };
		CHECK(!epoll_ctl(e, EPOLL_CTL_ADD, p[i][0], ev));
	}
	memset(ev, 0xee, sizeof(ev));
	CHECK(epoll_wait(e, ev, 8, 1000) == 3);
	for (int i = 0; i < 3; i++) {
		CHECK(ev[i].events == EPOLLIN && ev[i].data.u64 >> 8 == 0x11223344556677);
		seen |= 1 << (ev[i].data.u64 & 0xff);
	}
	CHECK(seen == 7 && ev[3].data.u64 == 0xeeeeeeeeeeeeeeee);
	CHECK(epoll_ctl(e, EPOLL_CTL_DEL, p[0][0], NULL) == 0 && epoll_wait(e, ev, 8, 0) == 2);
	close(e);
}

static volatile int got, value;
static sigset_t during;

static void handler(int sig, siginfo_t *si, void *context)
{
	(void)context;
	got = sig;
	value = si->si_value.sival_int;
	sigprocmask(SIG_BLOCK, NULL, &during);
}

static void plain(int sig)
{
	got = sig;
}

static void signals(void)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART }, old;
	sigset_t set, pending;
	siginfo_t si;
	stack_t ss = { .ss_sp = malloc(SIGSTKSZ), .ss_size = SIGSTKSZ };

	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaddset(&sa.sa_mask, SIGRTMAX);
	CHECK(!sigaction(SIGUSR1, &sa, NULL) && !sigaction(SIGUSR1, NULL, &old));
	CHECK(old.sa_sigaction == handler && old.sa_flags == (SA_SIGINFO | SA_RESTART));
	CHECK(sigismember(&old.sa_mask, SIGUSR2) == 1 && sigismember(&old.sa_mask, SIGRTMAX) == 1);
	CHECK(sigismember(&old.sa_mask, SIGUSR1) == 0);
	CHECK(!sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 4711 }));
	CHECK(got == SIGUSR1 && value == 4711);
	CHECK(sigismember(&during, SIGUSR1) == 1 && sigismember(&during, SIGUSR2) == 1);
	CHECK(!sigaltstack(&ss, NULL));
	sa = (struct sigaction){ .sa_handler = plain, .sa_flags = SA_ONSTACK | SA_RESETHAND };
	CHECK(!sigaction(SIGRTMIN + 1, &sa, NULL) && !raise(SIGRTMIN + 1) && got == SIGRTMIN + 1);
	CHECK(!sigaction(SIGRTMIN + 1, NULL, &old) && old.sa_handler == SIG_DFL);
	CHECK(signal(SIGUSR2, plain) == SIG_DFL && signal(SIGUSR2, SIG_IGN) == plain);
	CHECK(signal(SIGUSR2, SIG_DFL) == SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL) && !kill(getpid(), SIGUSR2));
	CHECK(!sigpending(&pending) && sigismember(&pending, SIGUSR2) == 1);
	CHECK(sigwaitinfo(&set, &si) == SIGUSR2 && si.si_code == SI_USER && si.si_pid == getpid());
	CHECK(sigtimedwait(&set, &si, &(struct timespec){ 0, 1000000 }) < 0 && errno == EAGAIN);
	CHECK(sigaction(32, &sa, NULL) < 0 && sigaction(35, &sa, NULL) < 0 && SIGRTMIN > 35);
}

static void system_v(void)
{
	int sem = semget(IPC_PRIVATE, 3, 0600), shm = shmget(IPC_PRIVATE, 5000, 0600), msg = msgget(IPC_PRIVATE, 0600);
	union semun {
		int val;
		struct semid_ds *buf;
	} u;
	struct semid_ds sd;
	struct shmid_ds hd;
	struct msqid_ds md;
	struct {
		long type;
		char text[8];
	} m = { 5, "message" };
	char *p;

	if (sem < 0 && errno == ENOSYS)
		return;
	CHECK(sem >= 0 && shm >= 0 && msg >= 0);
	u.val = 9;
	CHECK(!semctl(sem, 1, SETVAL, u) && semctl(sem, 1, GETVAL) == 9);
	CHECK(!semop(sem, &(struct sembuf){ 1, -4, 0 }, 1) && semctl(sem, 1, GETVAL) == 5);
	u.buf = &sd;
	CHECK(!semctl(sem, 0, IPC_STAT, u) && sd.sem_nsems == 3 && (sd.sem_perm.mode & 0777) == 0600);
	CHECK(sd.sem_otime >= sd.sem_ctime && sd.sem_perm.uid == getuid());
	sd.sem_perm.mode = 0640;
	CHECK(!semctl(sem, 0, IPC_SET, u) && !semctl(sem, 0, IPC_STAT, u) && (sd.sem_perm.mode & 0777) == 0640);
	CHECK(!semctl(sem, 0, IPC_RMID));
	p = shmat(shm, NULL, 0);
	CHECK(p != (void *)-1);
	CHECK(!shmctl(shm, IPC_STAT, &hd) && hd.shm_segsz == 5000 && hd.shm_nattch == 1 && hd.shm_cpid == getpid());
	CHECK(!shmdt(p) && !shmctl(shm, IPC_RMID, NULL));
	CHECK(!msgsnd(msg, &m, 8, 0) && !msgctl(msg, IPC_STAT, &md) && md.msg_qnum == 1);
	memset(&m, 0, sizeof(m));
	CHECK(msgrcv(msg, &m, 8, 5, 0) == 8 && !strcmp(m.text, "message") && !msgctl(msg, IPC_RMID, NULL));
}

static void terminals(void)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY), t;
	struct winsize w = { 33, 77, 0, 0 }, now;
	struct termios a, b;

	if (fd < 0)
		return;
	CHECK(!grantpt(fd) && !unlockpt(fd));
	t = open(ptsname(fd), O_RDWR | O_NOCTTY);
	CHECK(t >= 0 && isatty(t) && !tcgetattr(t, &a));
	cfmakeraw(&a);
	a.c_cc[VMIN] = 7;
	cfsetspeed(&a, B115200);
	CHECK(!tcsetattr(t, TCSANOW, &a) && !tcgetattr(t, &b));
	CHECK(a.c_iflag == b.c_iflag && a.c_oflag == b.c_oflag && a.c_lflag == b.c_lflag && b.c_cc[VMIN] == 7);
	CHECK(cfgetospeed(&b) == B115200);
	CHECK(!ioctl(t, TIOCSWINSZ, &w) && !ioctl(fd, TIOCGWINSZ, &now) && now.ws_row == 33 && now.ws_col == 77);
}

static void clocks(void)
{
	struct timespec a, b, t = { 0, 2000000 };
	struct itimerspec it = { .it_value = { 0, 1000000 } };
	uint64_t n;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	CHECK(!clock_gettime(CLOCK_MONOTONIC, &a) && !nanosleep(&t, NULL) && !clock_gettime(CLOCK_MONOTONIC, &b));
	CHECK((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 2000000);
	b.tv_nsec += 1000000;
	b.tv_sec += b.tv_nsec / 1000000000;
	b.tv_nsec %= 1000000000;
	CHECK(!clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &b, NULL));
	CHECK(!clock_gettime(CLOCK_MONOTONIC, &a) && (a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec >= b.tv_nsec)));
	CHECK(!timerfd_settime(fd, 0, &it, NULL) && read(fd, &n, 8) == 8 && n == 1);
}

static void waits(void)
{
	struct pollfd pfd;
	struct timeval tv = { 0, 1000 };
	struct rusage ru;
	fd_set set;
	char *args[] = { "true", NULL };
	int p[2], status;
	pid_t pid;

	CHECK(!pipe(p));
	pfd = (struct pollfd){ .fd = p[0], .events = POLLIN };
	CHECK(poll(&pfd, 1, 1) == 0);
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	CHECK(select(p[0] + 1, &set, NULL, NULL, &tv) == 0);
	pid = fork();
	if (!pid)
		_exit(write(p[1], "abc", 3) == 3 ? 7 : 1);
	CHECK(poll(&pfd, 1, -1) == 1 && pfd.revents == POLLIN);
	CHECK(wait4(pid, &status, 0, &ru) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
	CHECK(ru.ru_maxrss > 0);
	CHECK(!posix_spawn(&pid, "/bin/true", NULL, NULL, args, NULL));
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(posix_spawn(&pid, "/not/there", NULL, NULL, args, NULL) == ENOENT);
	CHECK(WEXITSTATUS(system("exit 3")) == 3);
	CHECK(syscall(SYS_getpid) == getpid() && syscall(9999) < 0 && errno == ENOSYS);
}

static void mappings(void)
{
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;
	int fd = open("m", O_RDWR | O_CREAT, 0600);

	CHECK(p != MAP_FAILED && (uintptr_t)p < 1ul << 38);
	strcpy(p, "kept");
	q = mremap(p, 1 << 20, 4 << 20, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && (uintptr_t)q < 1ul << 38 && !strcmp(q, "kept") && !munmap(q, 4 << 20));
	CHECK(!ftruncate(fd, 65536) && pwrite(fd, "file", 5, 0) == 5);
	p = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED && !strcmp(p, "file") && !munmap(p, 65536));
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, -1, 0) == MAP_FAILED && errno == EBADF);
}

static void *threads(void *arg)
{
	char name[16] = "";
	cpu_set_t set;

	CHECK(!pthread_setname_np(pthread_self(), "a-thread") && !pthread_getname_np(pthread_self(), name, 16));
	CHECK(!strcmp(name, "a-thread"));
	CHECK(!pthread_getaffinity_np(pthread_self(), sizeof(set), &set) && CPU_COUNT(&set) > 0);
	CHECK(gettid() != getpid());
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t;
	void *r;

	if (argc > 1 && chdir(argv[1]))
		return 2;
	open_flags();
	stats();
	epolls();
	signals();
	system_v();
	terminals();
	clocks();
	waits();
	mappings();
	CHECK(!pthread_create(&t, NULL, threads, &t) && !pthread_join(t, &r) && r == &t);
	puts(failed ? "failed" : "ok");
	return failed;
}
