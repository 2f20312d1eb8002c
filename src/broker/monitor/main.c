/* SPDX-License-Identifier: MIT */
/* main.c - makes a running monitor of the command line and the configuration */
#include "broker/monitor/main.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/sock.h"
#include "broker/monitor/cgroup.h"
#include "broker/monitor/monitor.h"

#define BACKLOG 128
/* The user of the first child: above the users that distributions give out, and
 * below their dynamic users. */
#define UID_BASE 60600
#define UID_MAX 2000000000

static const char usage[] =
	"usage: gpu-broker --driver NAME --listen ADDRESS... --secret-file FILE\n"
	"\n"
	"  --driver NAME          real (NVIDIA's, loaded here) or soft\n"
	"  --driver-version V     the driver that user space of workers expects\n"
	"  --listen ADDRESS       vsock:any:PORT or unix:PATH; may be repeated\n"
	"  --secret-file FILE     32 bytes that the bridge must know\n"
	"  --uid-base N           child i runs as user N + i\n"
	"  --cgroup DIR           child i runs in DIR/workeri, a cgroup v2\n"
	"  -c, --config FILE      isospin.conf(5)\n"
	"  -v, --verbose          say more\n"
	"  -h, --help             this\n"
	"  -V, --version          the version\n";

struct options {
	const char *driver, *version, *secret_file, *config, *cgroup;
	const char *listen[CONFIG_MAX_LISTEN];
	unsigned int n_listen;
	uint64_t uid_base;
	bool verbose;
};

_noreturn_ static void bad_usage(const char *what)
{
	die(ISO_EX_USAGE, "%s; gpu-broker --help says more", what);
}

enum { OPT_DRIVER = 256, OPT_DRIVER_VERSION, OPT_LISTEN, OPT_SECRET, OPT_UID,
       OPT_CGROUP };

static const struct option long_options[] = {
	{ "driver", required_argument, NULL, OPT_DRIVER },
	{ "driver-version", required_argument, NULL, OPT_DRIVER_VERSION },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "secret-file", required_argument, NULL, OPT_SECRET },
	{ "uid-base", required_argument, NULL, OPT_UID },
	{ "cgroup", required_argument, NULL, OPT_CGROUP },
	{ "config", required_argument, NULL, 'c' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static void one_option(struct options *o, int opt)
{
	switch (opt) {
	case OPT_DRIVER:
		o->driver = optarg;
		break;
	case OPT_DRIVER_VERSION:
		o->version = optarg;
		break;
	case OPT_LISTEN:
		if (o->n_listen == CONFIG_MAX_LISTEN)
			bad_usage("--listen is given more than eight times");
		o->listen[o->n_listen++] = optarg;
		break;
	case OPT_SECRET:
		o->secret_file = optarg;
		break;
	case OPT_UID:
		if (parse_u64(optarg, 1, UID_MAX, &o->uid_base) < 0)
			bad_usage("--uid-base wants a number above 0");
		break;
	case OPT_CGROUP:
		o->cgroup = optarg;
		break;
	case 'c':
		o->config = optarg;
		break;
	case 'v':
		o->verbose = true;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(ISO_EX_OK);
	case 'V':
		puts("gpu-broker " ISOSPIN_VERSION);
		exit(ISO_EX_OK);
	default:
		exit(ISO_EX_USAGE); /* getopt has said why */
	}
}

static struct options parse_options(int argc, char **argv)
{
	struct options o = { .uid_base = UID_BASE };
	int opt;

	while ((opt = getopt_long(argc, argv, "c:vhV", long_options, NULL)) >=
	       0)
		one_option(&o, opt);
	if (optind < argc)
		bad_usage("an argument where only options are taken");
	if (!o.driver)
		bad_usage("--driver is missing");
	if (!o.n_listen)
		bad_usage("--listen is missing");
	if (!o.secret_file)
		bad_usage("--secret-file is missing");
	return o;
}

static void read_secret(const char *path, uint8_t ret_secret[SECRET_LEN])
{
	int r = secret_read(path, ret_secret);

	if (r < 0)
		die(r == -EINVAL ? ISO_EX_DATA : ISO_EX_NOINPUT, "%s: %s", path,
		    secret_error(r));
}

static void set_quotas(struct proto_quota *q, const struct conf *conf)
{
	q->max_conns = (uint32_t)conf_num(conf, CONF_MAX_CONNS);
	q->max_files = (uint32_t)conf_num(conf, CONF_MAX_FILES);
	q->max_clients = (uint32_t)conf_num(conf, CONF_MAX_CLIENTS);
	q->max_objects = (uint32_t)conf_num(conf, CONF_MAX_OBJECTS);
	q->max_rate = (uint32_t)conf_num(conf, CONF_MAX_RATE);
	q->max_inflight_bytes = conf_num(conf, CONF_MAX_INFLIGHT_BYTES);
}

static enum log_level level_of(const char *name)
{
	static const char *const names[] = { "error", "warning", "info",
					     "debug" };

	/* The configuration says `warn`, so the start of a name will do. */
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strncmp(names[i], name, strlen(name)) == 0)
			return (enum log_level)i;
	return LOG_LVL_INFO;
}

/* Takes the driver that was asked for, and never another in its place. */
static void set_driver(struct monitor_config *config, const struct options *o,
		       const struct conf *conf)
{
	const struct drv_type *type = drv_type_find(o->driver);
	struct proto_setup *s = &config->setup;
	struct drv_host *host;
	int r;

	if (!type)
		die(ISO_EX_UNAVAILABLE,
		    "driver %s is not in this build; gpu-broker --help names those that are",
		    o->driver);
	if (!type->knows_version && !o->version)
		bad_usage("--driver-version is missing");
	r = type->host_new(conf, o->version, &host);
	if (r < 0)
		die(ISO_EX_UNAVAILABLE, "driver %s does not serve: %s",
		    o->driver, strerror(-r));
	config->host = host;
	snprintf(s->driver, sizeof(s->driver), "%s", type->name);
	s->config = host->config;
}

static void set_from_config(struct monitor_config *config,
			    const struct options *o)
{
	char error[CONF_ERROR_MAX];
	struct conf conf;
	enum log_level level;

	if (conf_load(&conf, o->config, NULL, error) < 0)
		die(ISO_EX_CONFIG, "%s", error);
	level = o->verbose ? LOG_LVL_DEBUG :
			     level_of(conf_str(&conf, CONF_LOG_LEVEL));
	log_set_level(level);
	config->setup.log_level = (int)level;
	config->max_workers = (uint32_t)conf_num(&conf, CONF_MAX_WORKERS);
	set_quotas(&config->setup.quota, &conf);
	set_driver(config, o, &conf);
	conf_free(&conf);
}

static void start_listening(struct monitor_config *config,
			    const struct options *o)
{
	struct sock_addr addr;

	for (unsigned int i = 0; i < o->n_listen; i++) {
		int r = sock_parse(o->listen[i], &addr);

		if (r < 0 || addr.kind == SOCK_HYBRID)
			die(ISO_EX_USAGE, "--listen %s: not an address",
			    o->listen[i]);
		r = sock_listen(&addr, BACKLOG);
		if (r < 0)
			die(ISO_EX_UNAVAILABLE, "--listen %s: %s",
			    o->listen[i], strerror(-r));
		config->listen_fd[config->n_listen++] = r;
	}
}

/* Opens the cgroup for equal shares of the processors. -1 if there is none: the
 * broker serves without them as well. */
static int open_cgroup(const char *dir)
{
	int fd = dir ? cgroup_open(dir) : -1;

	if (dir && fd < 0)
		log_warn("--cgroup %s: %s; children compete for the processors",
			 dir, strerror(-fd));
	return MAX(fd, -1);
}

/* Makes room for an fd for each connection, four for each worker and two for
 * each stranger, as far as the hard limit goes. Beyond it, connections are
 * refused. */
static void raise_fd_limit(const struct monitor_config *config)
{
	rlim_t want = 512 + (rlim_t)config->max_workers *
				    (config->setup.quota.max_conns + 4);
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return;
	if (geteuid() == 0)
		r.rlim_max = MAX(r.rlim_max, want);
	r.rlim_cur = MIN(MAX(r.rlim_cur, want), r.rlim_max);
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		log_warn("the limit of open files stays as it is: %s",
			 strerror(errno));
}

/* Takes the numbers that fds have in a child, so that none of ours has one of
 * them when spawn.c puts them there. */
static void fill_low_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd < PROTO_OPENER);
	if (fd > PROTO_OPENER)
		close(fd);
}

int monitor_main(int argc, char **argv)
{
	static struct monitor_config config;
	struct options o;
	int r;

	log_init("gpu-broker");
	o = parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	fill_low_fds();
	set_from_config(&config, &o);
	read_secret(o.secret_file, config.secret);
	if (geteuid() == 0)
		config.uid_base = (uid_t)o.uid_base;
	else
		log_warn("not root, so children run as user %u, like the monitor",
			 geteuid());
	config.cgroup_fd = open_cgroup(o.cgroup);
	raise_fd_limit(&config);
	start_listening(&config, &o);
	r = monitor_run(&config);
	for (unsigned int i = 0; i < o.n_listen; i++)
		if (strncmp(o.listen[i], "unix:", 5) == 0)
			unlink(o.listen[i] + 5);
	config.host->type->host_free(config.host);
	if (r < 0)
		die(ISO_EX_BUG, "event loop: %s", strerror(-r));
	return ISO_EX_OK;
}
