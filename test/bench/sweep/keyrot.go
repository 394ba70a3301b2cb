package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
	"github.com/keyrot/keyrot/test/bench/cloud"
	"github.com/keyrot/keyrot/test/freeport"
)

// scene is a cloud, and a folder for the keyrot that rotates its users.
type scene struct {
	*cloud.Cloud
	bin, dir, url string
	env           []string
	srv           *http.Server
}

// open begins a scene with n users. Settings are those of environment variables.
func (s sweep) open(ctx context.Context, c *cloud.Cloud, settings ...string) (*scene, error) {
	bin, err := filepath.Abs(s.bin)
	if err != nil {
		return nil, err
	}
	c.Latency = s.latency
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sweep")
	if err != nil {
		return nil, err
	}
	k := &scene{Cloud: c, bin: bin, dir: dir, url: "http://" + ln.Addr().String()}
	k.srv = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = k.srv.Serve(ln) }()
	k.env = append(os.Environ(), "HOME="+dir, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIAOPERATOR", "AWS_SECRET_ACCESS_KEY=s",
		"AWS_ENDPOINT_URL_IAM="+k.url, "AWS_ENDPOINT_URL_STS="+k.url, "AWS_CONFIG_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
		"KEYROT_STORE_PATH="+k.file("keyrot.db"), "KEYROT_STORE_KEY_FILE="+k.file("keyrot.key"), "KEYROT_AUDIT_PATH="+k.file("audit.jsonl"),
		"KEYROT_USERS_ALL=true")
	k.env = append(k.env, settings...)
	return k, nil
}

func (k *scene) close() {
	_ = k.srv.Close()
	_ = os.RemoveAll(k.dir)
}

func (k *scene) file(name string) string { return filepath.Join(k.dir, name) }

func (k *scene) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, k.bin, args...) // #nosec G204 -- our own binary
	cmd.Dir, cmd.Env = k.dir, k.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	log, err := os.Create(k.file("log"))
	cmd.Stderr = log
	return cmd, err
}

// tail returns the end of what the last command said.
func (k *scene) tail() string {
	text, _ := os.ReadFile(k.file("log"))
	return string(text[max(0, len(text)-2000):])
}

// once runs rotate-once over all users, and returns how long that took and how
// many users failed.
func (k *scene) once(ctx context.Context) (took time.Duration, failed int, err error) {
	cmd, err := k.command(ctx, "rotate-once", "-o", "json")
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	out, err := cmd.Output()
	took = time.Since(start)
	var report struct {
		Users []struct {
			Error string `json:"error"`
		} `json:"users"`
	}
	if jerr := json.Unmarshal(out, &report); jerr != nil || len(report.Users) == 0 {
		return 0, 0, fmt.Errorf("%w\n%s\n%.2000s", err, k.tail(), out)
	}
	for _, u := range report.Users {
		if u.Error != "" {
			failed++
		}
	}
	return took, failed, nil
}

// daemon is a keyrot serve.
type daemon struct {
	*scene
	cmd  *exec.Cmd
	addr string
}

// serve starts keyrot serve.
func (k *scene) serve(ctx context.Context, args ...string) (*daemon, error) {
	addr, err := freeport.Addr(ctx)
	if err != nil {
		return nil, err
	}
	d := &daemon{scene: k, addr: addr}
	if d.cmd, err = k.command(ctx, append([]string{"serve", "--listen", d.addr}, args...)...); err != nil {
		return nil, err
	}
	return d, d.cmd.Start()
}

func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(os.Interrupt)
	_ = d.cmd.Wait()
}

// health is what the daemon says of its users; the zero value if it does not answer.
func (d *daemon) health(ctx context.Context) (h api.Health) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.addr+api.PathHealth, nil)
	if err != nil {
		return h
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return h
	}
	defer func() { _ = res.Body.Close() }()
	_ = json.NewDecoder(res.Body).Decode(&h)
	return h
}

// until waits for done, which is asked every 200 ms, and returns how long it took.
func (d *daemon) until(ctx context.Context, most time.Duration, done func() bool) (time.Duration, error) {
	start := time.Now()
	for !done() {
		if time.Since(start) > most || ctx.Err() != nil {
			return 0, fmt.Errorf("not within %s: %+v\n%s", most, d.health(ctx), d.tail())
		}
		time.Sleep(200 * time.Millisecond)
	}
	return time.Since(start), nil
}

// memory returns the resident memory in MiB (Linux).
func (d *daemon) memory() float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(raw), "VmRSS:")
	var kib float64
	_, _ = fmt.Sscan(after, &kib)
	return kib / 1024
}

// cpu returns the seconds of processor time used so far (Linux).
func (d *daemon) cpu() float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(raw), ") ")
	var user, system float64 // in hundredths of a second: proc(5), fields 14 and 15
	if f := strings.Fields(after); len(f) > 12 {
		_, _ = fmt.Sscan(f[11]+" "+f[12], &user, &system)
	}
	return (user + system) / 100
}

// size returns the size of the scene's files, in MiB.
func (k *scene) size(pattern string) (mib float64) {
	names, _ := filepath.Glob(k.file(pattern))
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			mib += float64(info.Size()) / (1 << 20)
		}
	}
	return mib
}
