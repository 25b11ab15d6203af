# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors

.PHONY: help demo test release install uninstall interop bench figures micro lint docs docs-serve clean

help: ## Shows this.
	@echo "make TARGET, where TARGET is one of:"
	@sed -nE 's/^([a-z-]+): .*## (.*)/  \1\t\2/p' Makefile | expand -t 14
	@echo
	@echo "demo and test are the ones to begin with. Packages of the system that are missing are installed by the targets that need"
	@echo "them, which say what and why; \"Scripts/setup --list\" says it beforehand. README.md has more."

demo: ## Two people chat through a durable server while it is killed and UDP is blocked.
	Scripts/demo

test: ## Every test, after installing what they need.
	Scripts/test

release: ## The optimised tern with completions and man pages, into .build/install.
	Scripts/install --stage

install: ## The same, into PREFIX (/usr/local); DESTDIR is put before it. With sudo: "make release" first.
	Scripts/install

uninstall: ## Removes what "make install" with the same PREFIX and DESTDIR put there.
	Scripts/install --remove

interop: ## Clients against servers, ours and foreign, through the cases of the quic-interop-runner: the matrix.
	Scripts/interop

bench: ## QUIC and TCP compared on the same work, with a report. PROFILE=quick takes three minutes, PROFILE=full an hour.
	Scripts/bench $(if $(PROFILE),--profile $(PROFILE))

figures: ## Tern beside other programs on the loopback: the ratios that have targets.
	Scripts/figures

micro: ## What one frame, packet and message costs, checked against thresholds.
	Scripts/micro

lint: ## Format, arrows between the targets, documents that must match the code.
	Scripts/lint

docs: ## The pages of the public API and its articles, into .build/docs; any warning fails.
	Scripts/docs

docs-serve: ## The same, shown at http://127.0.0.1:8000/ or at PORT.
	Scripts/docs --serve $(PORT)

clean: ## Removes everything that a build made.
	swift package clean

export PREFIX DESTDIR
