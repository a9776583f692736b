package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"lte/checkpoint"
)

// What a test asks of the ranks that it starts, in the environment.
const (
	pidFolder = "LTE_TEST_PIDS" // a folder in which every rank leaves its process id, under its number
	killAt    = "LTE_TEST_KILL" // RANK:TIMES:POINT: that rank kills itself when it reaches a point of writing a checkpoint that often
)

// prepareFaults does what was asked, on a rank.
func prepareFaults() {
	rank := "0"
	for _, name := range []string{"PMI_RANK", "OMPI_COMM_WORLD_RANK"} {
		if v, ok := os.LookupEnv(name); ok {
			rank = v
		}
	}
	if dir := os.Getenv(pidFolder); dir != "" {
		path := filepath.Join(dir, rank)
		if err := os.WriteFile(path+".tmp", fmt.Append(nil, os.Getpid()), 0o644); err == nil {
			err = os.Rename(path+".tmp", path)
			_ = err // the test waits for it, in vain
		}
	}
	of, rest, _ := strings.Cut(os.Getenv(killAt), ":")
	if of != rank {
		return
	}
	var times int
	text, point, _ := strings.Cut(rest, ":")
	if _, err := fmt.Sscan(text, &times); err != nil {
		panic(err)
	}
	checkpoint.Reached = func(p string) {
		if p == point {
			if times--; times == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
}
