# lte: builds, tests and runs with MPICH, or with Open MPI when MPI=openmpi is given. `make help` lists the targets.

MPI    ?= mpich
NP     ?= 8
PREFIX ?= /usr/local/bin

ifeq ($(MPI),mpich)
  MPI_PC       = mpich
  MPI_PACKAGES = mpich libmpich-dev
  MPIRUN       = $(shell command -v mpirun.mpich || echo mpirun)
else ifeq ($(MPI),openmpi)
  MPI_PC       = ompi-c
  MPI_PACKAGES = openmpi-bin libopenmpi-dev
  # More ranks than cores is the normal case here, and Open MPI's one-core binding would leave Go a single thread.
  MPIRUN       = $(shell command -v mpirun.openmpi || echo mpirun) --oversubscribe --bind-to none$(ROOT)
  ROOT         = $(if $(filter 0,$(shell id -u)), --allow-run-as-root)
else
  $(error MPI is mpich or openmpi, not $(MPI))
endif

# Asked for when a recipe runs, not before: deps may just have brought them. They come before gompi's own flags, which name Open
# MPI's folders; gompi's -lmpi resolves with either MPI alone, and where it finds the other one --as-needed leaves that out.
export CGO_ENABLED = 1
export CGO_CFLAGS  = -O2 -g $(shell pkg-config --cflags $(MPI_PC) 2>&-)
export CGO_LDFLAGS = -O2 -g -Wl,--as-needed $(shell pkg-config --libs $(MPI_PC) 2>&-)
export LTE_MPIRUN  = $(MPIRUN)

PACKAGES = $(MPI_PACKAGES) libdnnl-dev libjpeg-dev pkg-config gcc libc6-dev
SUDO     = $(if $(filter-out 0,$(shell id -u)),sudo)

# Shell text that installs those Debian packages that are missing.
define INSTALL
missing=; \
for p in $(1); do \
  dpkg-query -W -f '$${db:Status-Status}' $$p 2>&- | grep -qx installed || missing="$$missing $$p"; \
done; \
[ -z "$$missing" ] || { \
  echo "Installing$$missing"; \
  $(SUDO) apt-get update -qq && \
  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing; \
}
endef

VERSION  = $(shell git describe --tags --always --dirty 2>&- || echo devel)

APT       = $(shell command -v apt-get)
ROOT_USER = $(filter 0,$(shell id -u))

# The tests on real ranks: those in the files tagged mpirun. One package's at a time, by the lock, while the next one's are built.
RANK_FILES = $(shell grep -rls --include='*_test.go' '^//go:build mpirun' .)
RANK_TESTS = $(shell grep -ho '^func Test[A-Za-z0-9_]*' $(RANK_FILES) | sed 's/^func //; /^TestMain$$/d' | paste -sd '|')

.PHONY: run build test test-tools test-unit test-mpi test-report test-slurm lint bench bench-torch bench-data deps install clean env help

run: build ## train on NP=8 ranks; ARGS='...' goes to lte
	$(MPIRUN) -np $(NP) ./lte $(ARGS)

build: deps ## ./lte
	go build -ldflags '-X main.version=$(VERSION)' -o lte .

# The tests on SLURM and those on ranks both wait much of their time: each computes while the other waits.
test: build test-tools ## all that must hold, in at most eight minutes on two cores
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory test-unit $(if $(APT),LTE_CHROMIUM=1)
	$(MAKE) --no-print-directory -j2 test-slurm test-mpi

# What the tests need of Debian's packages, all at once: apt-get cannot be run twice at a time.
test-tools:
	@$(if $(APT),$(call INSTALL,shellcheck chromium $(if $(ROOT_USER),slurm-wlm munge)))

test-unit: ## the tests without ranks, then a build without MPI; lint has vetted them
	go test -vet=off ./...
	CGO_ENABLED=0 go build -o /dev/null ./...
	CGO_ENABLED=0 go vet ./...
	CGO_ENABLED=0 go test -vet=off ./data/picture

test-mpi: ## the tests on real ranks alone
	go test -vet=off -tags mpirun -count=1 -exec 'flock $(CURDIR)/go.mod' -run '^($(RANK_TESTS))$$' $(sort $(dir $(RANK_FILES)))

test-report: ## the report's page in Chromium; without apt-get in the one that is there, if any
	@$(if $(APT),$(call INSTALL,chromium))
	$(if $(APT),LTE_CHROMIUM=1) go test -count=1 -run TestInABrowser ./compare

test-slurm: ## the sweeps of jobs/ on a SLURM of two nodes of its own; where there is apt-get and root
ifneq ($(and $(APT),$(ROOT_USER)),)
	@$(call INSTALL,slurm-wlm munge)
	go test -vet=off -count=1 -tags slurm -timeout 15m -parallel 8 -run TestSweepsOnSLURM ./jobs
else
	@echo "make test-slurm starts a SLURM: it needs apt-get and root. Left out."
endif

lint: ## format, go vet, staticcheck, shellcheck of jobs/, and the order of imports
	@$(if $(APT),$(call INSTALL,shellcheck))
	@if command -v shellcheck >/dev/null; then shellcheck -x jobs/*.sh tools/slurm.sh tools/digests.sh tools/recipes.sh; else echo "no shellcheck here: jobs/ are not checked"; fi
	@files=$$(find . -name '*.go' -not -path './.*' -exec gofmt -l {} +); \
	[ -z "$$files" ] || { echo "gofmt -w is wanted for:" $$files; exit 1; }
	go vet -tags mpirun,slurm ./...
	go tool staticcheck -tags mpirun,slurm ./...
	go test -count=1 ./internal/lint # go list reads what the test cache does not know of

bench: build ## products and a training step on one core of this machine; ARGS='...' goes to lte bench
	OMP_NUM_THREADS=1 ./lte bench gemm $(ARGS)
	OMP_NUM_THREADS=1 ./lte bench step $(ARGS)

bench-torch: build ## a training step beside PyTorch's, on the same core; some minutes, ARGS='...' goes to the script
	@$(call INSTALL,python3-torch libopenblas0-pthread)
	tools/bench_torch.py $(ARGS)

bench-data: build ## a folder of JPEG files read and augmented, beside torchvision, on the same core; ARGS='...' goes to the script
	@$(call INSTALL,python3-torchvision)
	tools/bench_data.py $(ARGS)

deps: ## install the Debian packages that are missing
	@if ! command -v apt-get >/dev/null; then \
	  echo "No apt-get here. lte needs what Debian calls $(PACKAGES)."; \
	  pkg-config --exists --print-errors $(MPI_PC) dnnl; \
	else \
	  $(call INSTALL,$(PACKAGES)); \
	fi

install: build ## lte into PREFIX=/usr/local/bin
	install -D -m 755 lte $(DESTDIR)$(PREFIX)/lte

clean: ## remove what make built
	rm -f lte

env: ## settings for plain go commands: eval "$(make -s env)"
	@echo 'export CGO_CFLAGS="$(CGO_CFLAGS)" CGO_LDFLAGS="$(CGO_LDFLAGS)" LTE_MPIRUN="$(LTE_MPIRUN)"'

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12
