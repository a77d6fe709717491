# Installing kvwal, and packages of it: see packaging/README.md.
#
#   make install       below PREFIX=/usr/local; DESTDIR=/a/root stands before that while files are copied, and in no file.
#                      GNU's names are known, too: prefix, bindir, libdir, includedir, mandir, ...
#   make uninstall     takes away what make install, called with the same directories, has put there
#   make deb           Debian packages, in target/deb
#   make install-test  installs, moves, uses, takes away; builds the packages, and uses them
#   make abi           takes the binary interface over as it is now, if it has only grown
#   make golden        writes the golden files of this version

PREFIX ?= /usr/local
prefix = $(PREFIX)
exec_prefix = $(prefix)
bindir = $(exec_prefix)/bin
libdir = $(exec_prefix)/lib
includedir = $(prefix)/include
datarootdir = $(prefix)/share
docdir = $(datarootdir)/doc/kvwal
mandir = $(datarootdir)/man
man1dir = $(mandir)/man1
pkgconfigdir = $(libdir)/pkgconfig
cmakedir = $(libdir)/cmake/kvwal
bashcompletiondir = $(datarootdir)/bash-completion/completions
fishcompletiondir = $(datarootdir)/fish/vendor_completions.d
zshcompletiondir = $(datarootdir)/zsh/site-functions

# A word here installs the program TOOL_DIR/word, and what was generated for it: its man pages and completions.
TOOLS := kvwal kv_server
TOOL_DIR := $(LIB_DIR)
GENERATED_DIR := target/generated

VERSION := $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
SONAME := $(shell sed -n 's/^const SONAME.*"\(.*\)";/\1/p' build.rs)

# What goes where: for each directory the files. One that ends in .in is filled in on the way, and loses that.
INSTALL_DIRS := bindir libdir includedir pkgconfigdir cmakedir docdir man1dir bashcompletiondir \
    fishcompletiondir zshcompletiondir
files_bindir := $(addprefix $(TOOL_DIR)/,$(TOOLS))
files_libdir := $(LIB_DIR)/libkvwal.a
files_includedir := include/kvwal.h include/kvwal.hpp
files_pkgconfigdir := packaging/kvwal.pc.in
files_cmakedir := packaging/kvwalConfig.cmake.in packaging/kvwalConfigVersion.cmake.in
files_docdir := LICENSE-APACHE LICENSE-MIT
files_man1dir := $(wildcard $(foreach tool,$(TOOLS),$(GENERATED_DIR)/man/$(tool).1 $(GENERATED_DIR)/man/$(tool)-*.1))
files_bashcompletiondir := $(wildcard $(TOOLS:%=$(GENERATED_DIR)/completions/%.bash))
files_fishcompletiondir := $(wildcard $(TOOLS:%=$(GENERATED_DIR)/completions/%.fish))
files_zshcompletiondir := $(wildcard $(TOOLS:%=$(GENERATED_DIR)/completions/_%))
SHARED_LIBRARY := libkvwal.so.$(VERSION)
# The library and its links get other names than they have here.
named_libdir := $(SHARED_LIBRARY) $(SONAME) libkvwal.so

# The generated files name other directories by the way that leads there from their own, so that the tree can be moved.
way = $(shell realpath --canonicalize-missing --no-symlinks --relative-to='$($(1))' '$($(2))')
fill-in = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@SONAME@|$(SONAME)|g' -e 's|@SHARED_LIBRARY@|$(SHARED_LIBRARY)|g' \
    -e 's|@prefix@|$(call way,$(1),prefix)|g' -e 's|@libdir@|$(call way,$(1),libdir)|g' \
    -e 's|@includedir@|$(call way,$(1),includedir)|g'

mode_bindir := 755
plain = $(filter-out %.in,$(files_$(1)))
filled = $(filter %.in,$(files_$(1)))

define install-plain
	install -m $(or $(mode_$(1)),644) $(plain) '$(DESTDIR)$($(1))'

endef
define install-filled
	$(fill-in) $(2) > '$(DESTDIR)$($(1))/$(basename $(notdir $(2)))'
	chmod 644 '$(DESTDIR)$($(1))/$(basename $(notdir $(2)))'

endef
define install-into
	install -d '$(DESTDIR)$($(1))'
	$(if $(plain),$(install-plain))
	$(foreach file,$(filled),$(call install-filled,$(1),$(file)))
endef
define uninstall-from
	for file in $(notdir $(plain) $(basename $(filled))) $(named_$(1)); do rm -f '$(DESTDIR)$($(1))'/"$$file"; done

endef
used-dirs = $(foreach dir,$(INSTALL_DIRS),$(if $(files_$(dir)),$(dir)))

.PHONY: install uninstall install-test deb abi golden

# So that `make && sudo make install` needs no cargo the second time.
$(LIB_DIR)/libkvwal.so $(LIB_DIR)/libkvwal.a:
	@$(MAKE) --no-print-directory build

install: $(LIB_DIR)/libkvwal.so $(LIB_DIR)/libkvwal.a
	@case '$(prefix)' in /*) ;; *) echo "make install needs a PREFIX that begins with /, not '$(prefix)'" >&2; exit 1 ;; esac
	$(foreach dir,$(used-dirs),$(call install-into,$(dir)))
	install -m 644 $(LIB_DIR)/libkvwal.so '$(DESTDIR)$(libdir)/$(SHARED_LIBRARY)'
	ln -sf $(SHARED_LIBRARY) '$(DESTDIR)$(libdir)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(libdir)/libkvwal.so'

# Directories that are not ours alone stay, for nobody knows who has made them.
uninstall:
	$(foreach dir,$(used-dirs),$(call uninstall-from,$(dir)))
	for dir in '$(DESTDIR)$(cmakedir)' '$(DESTDIR)$(docdir)'; do \
	    [ ! -d "$$dir" ] || rmdir --ignore-fail-on-non-empty "$$dir"; done

# The packages are left out, by name, where they cannot be built.
install-test: build
	@tools/need.sh gcc g++ readelf pkg-config cmake
	packaging/tests/run.sh
	@if ! tools/need.sh dpkg-buildpackage dh lintian; then echo "left out: make deb, and its tests"; exit 0; fi; \
	$(MAKE) --no-print-directory deb > target/deb.log 2>&1 || { cat target/deb.log; exit 1; }; packaging/tests/deb.sh target/deb

deb: build
	@tools/need.sh dpkg-buildpackage dh
	VERSION=$(VERSION) SONAME=$(SONAME) TOOLS="$(TOOLS)" TOOL_DIR="$(TOOL_DIR)" GENERATED_DIR="$(GENERATED_DIR)" \
	    packaging/deb.sh

abi: build
	@tools/need.sh gcc
	VERSION=$(VERSION) tools/abi.sh --take $(LIB_DIR)/libkvwal.so

golden: tools
	$(CARGO) run --features sim --example golden -- tests/golden
