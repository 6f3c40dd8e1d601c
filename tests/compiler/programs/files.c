// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Files: open's flags, their errors, lseek, append, truncation, stat, links, directories, descriptors' own ways. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "try.h"

static char dir[] = "/tmp/try-files-XXXXXX";

static NOINLINE int attempt(const char *what, int r)
{
	if (r < 0)
		printf("%s: %s\n", what, errno == ENOENT ? "ENOENT" : errno == EEXIST ? "EEXIST" :
		       errno == ENOTDIR ? "ENOTDIR" : errno == EISDIR ? "EISDIR" : errno == ELOOP ? "ELOOP" :
		       errno == EBADF ? "EBADF" : errno == EINVAL ? "EINVAL" : "another error");
	else
		printf("%s: fine\n", what);
	return r;
}

static void shut(int fd)
{
	if (fd >= 0)
		close(fd);
}

static NOINLINE void flags(void)
{
	int fd;

	shut(attempt("absent", open("absent", O_RDONLY)));
	shut(attempt("create", open("a", O_RDWR | O_CREAT | O_EXCL, 0640)));
	shut(attempt("exclusive", open("a", O_RDWR | O_CREAT | O_EXCL, 0640)));
	shut(attempt("directory", open("a", O_RDONLY | O_DIRECTORY)));
	shut(attempt("the directory", open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
	shut(attempt("write directory", open(".", O_WRONLY)));
	symlink("a", "link");
	shut(attempt("link", open("link", O_RDONLY)));
	shut(attempt("no follow", open("link", O_RDONLY | O_NOFOLLOW)));
	shut(attempt("path", open("link", O_PATH | O_NOFOLLOW)));
	fd = attempt("nonblocking", open("a", O_RDWR | O_NONBLOCK | O_APPEND | O_CLOEXEC));
	printf("flags %d %d %d\n", (fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND)) == (O_NONBLOCK | O_APPEND),
	       fcntl(fd, F_GETFL) & O_DIRECTORY, fcntl(fd, F_GETFD) == FD_CLOEXEC);
	fcntl(fd, F_SETFL, O_APPEND);
	printf("flags %d\n", !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	close(fd);
}

static NOINLINE void content(void)
{
	struct iovec v[2] = { { "vector", 6 }, { "ed", 2 } };
	char s[64] = "", *m;
	struct stat st;
	int fd = open("b", O_RDWR | O_CREAT | O_TRUNC, 0600), end;

	for (int i = 0; i < 20; i++)
		dprintf(fd, "line %d\n", i);
	end = lseek(fd, 0, SEEK_END);
	printf("end %d ", end);
	lseek(fd, -5, SEEK_CUR);
	printf("read %d ", (int)read(fd, s, sizeof(s)));
	printf("pread %d '%.6s' ", (int)pread(fd, s, 6, 7), s);
	pwrite(fd, "LINE", 4, 14);
	lseek(fd, 14, SEEK_SET);
	read(fd, s, 6);
	printf("'%.6s'\n", s);
	lseek(fd, 10000, SEEK_SET);
	printf("writev %d ", (int)writev(fd, v, 2));
	fstat(fd, &st);
	printf("size %d links %d mode %o regular %d\n", (int)st.st_size, (int)st.st_nlink, (int)st.st_mode & 0777,
	       S_ISREG(st.st_mode));
	m = mmap(NULL, 10008, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m != MAP_FAILED) {
		printf("mapped '%.6s' '%.8s' ", m + 14, m + 10000);
		memcpy(m + 100, "through memory", 14);
		munmap(m, 10008);
		pread(fd, s, 14, 100);
		printf("'%.14s'\n", s);
	}
	ftruncate(fd, 77);
	fstat(fd, &st);
	printf("cut %d blocks %d\n", (int)st.st_size, st.st_blocks > 0);
	close(fd);
	attempt("closed", read(fd, s, 1));
	fd = open("b", O_WRONLY | O_APPEND);
	lseek(fd, 0, SEEK_SET);
	write(fd, "appended", 8);
	fstat(fd, &st);
	printf("append %d\n", (int)st.st_size);
	end = dup(fd);
	dup2(fd, 77);
	write(77, "x", 1);
	printf("dup %d\n", (int)lseek(end, 0, SEEK_CUR));
	close(77);
	close(end);
	close(fd);
}

static int visited;

static int visit(const char *path, const struct stat *st, int type, struct FTW *f)
{
	visited += 1 + f->level * 10 + (type == FTW_F ? 100 : 0) + (S_ISDIR(st->st_mode) ? 1000 : 0);
	return path[0] == 0;
}

static int not_dots(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static NOINLINE void directories(void)
{
	struct dirent **list, *e;
	struct stat st;
	char name[20];
	glob_t g;
	DIR *d;
	int n, sum = 0;

	mkdir("sub", 0755);
	attempt("mkdir", mkdir("sub", 0755));
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "sub/f%02d", i * 7 % 30);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	d = opendir("sub");
	for (n = 0; d && (e = readdir(d)); n++)
		sum += e->d_name[0] == 'f' ? atoi(e->d_name + 1) + (e->d_type == DT_REG) : 0;
	printf("entries %d sum %d\n", n, sum);
	closedir(d);
	n = scandir("sub", &list, not_dots, alphasort);
	printf("scandir %d %s %s\n", n, list[3]->d_name, list[n - 1]->d_name);
	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
	if (!glob("sub/f1[3-6]", 0, NULL, &g)) {
		printf("glob %d %s\n", (int)g.gl_pathc, g.gl_pathv[1]);
		globfree(&g);
	}
	nftw(".", visit, 5, FTW_PHYS);
	printf("visited %d\n", visited);
	rename("sub/f05", "sub/renamed");
	attempt("renamed", access("sub/f05", R_OK));
	link("sub/renamed", "hard");
	stat("hard", &st);
	printf("links %d\n", (int)st.st_nlink);
	lstat("link", &st);
	printf("symbolic %d %d\n", S_ISLNK(st.st_mode), (int)readlink("link", name, sizeof(name)));
	attempt("unlink directory", rmdir("a"));
}

static int removes(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	return f->level ? remove(path) : 0;
}

int main(void)
{
	if (!mkdtemp(dir) || chdir(dir))
		return 1;
	umask(022);
	flags();
	content();
	directories();
	nftw(dir, removes, 5, FTW_DEPTH | FTW_PHYS);
	chdir("/");
	attempt("remove", rmdir(dir));
	return 0;
}
