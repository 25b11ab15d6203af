# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors

.PHONY: demo test interop bench figures micro lint docs clean

demo: ## Two people chat through a durable server while it is killed and UDP is blocked.
	Scripts/demo

test: ## Every test, after installing what they need.
	Scripts/test

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

clean: ## Removes everything that a build made.
	swift package clean
