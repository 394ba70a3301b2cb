//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyrot/keyrot/test/freeport"
)

// elsewhere are commands of the documents that another test runs, or why none
// does.
var elsewhere = map[string]string{
	"make test": "what .ci/run begins with",
	"go install github.com/keyrot/keyrot/cmd/...@latest":                                                  "needs a published release",
	"AWS_REGION=eu-west-1 keyrot agent --users web --identity aws --endpoint https://keyrot.example:8443": "TestAWSIdentity",
	"curl -sSf -H \"Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN\" \"$ACTIONS_ID_TOKEN_REQUEST_URL&audience=keyrot\" |\n" +
		"  jq -r .value >\"$RUNNER_TEMP/token\"": "needs GitHub's endpoint; TestOIDCIdentity has a token of its own",
	"keyrot exec --user ci-app --oidc-token-file \"$RUNNER_TEMP/token\" -- aws s3 sync . s3://bucket": "TestOIDCIdentity",
	"keyrot audit prune --keep 400d --to /var/backups/keyrot":                                         "cli.TestTheLogIsProvenReportedAndCut",
	"keyrot audit prune --stack iam-key-rotation --keep 400d --to FOLDER":                             "dynamodb.TestAuditPrune: moto does not tell the time as AWS does",
	"keyrot burn USER":                                 "cli.TestBurnReplacesTheLeakedKey",
	"keyrot rollback USER":                             "cli.TestRollbackGoesBackAndPauses",
	"keyrot publish USER":                              "cli.TestPublishAgain",
	"keyrot whohas AKIA…":                              "cli.TestWhoHasGivesNoFalseAllClear",
	"keyrot exec --via process":                        "keyrot.TestScripts (exec.txtar)",
	"keyrot get-key --stdin":                           "keyrot.TestScripts (ses.txtar)",
	"keyrot deploy --table T --kms-key K":              "TestDeployTakesOver",
	"keyrot api-key create --stack":                    "TestDeployTakesOver",
	"keyrot rotate-once --stack NAME --user U --force": "cli.TestRotateStack, see deploy_test.go: moto runs no functions",
}

// inline is a command in running text that is more than the command's name.
var inline = regexp.MustCompile("`(keyrot [a-z][^`]*(?: --| [A-Z])[^`]*)`")

// documentedCommands lists the commands of a document: in fenced blocks of sh and
// console, on indented lines, and in running text. A script is one command.
func documentedCommands(t *testing.T, name string) (commands []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	comment := regexp.MustCompile(`\s{2,}#.*`)
	fence, open, inside := "", "", false
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSuffix(line, "\n")
		if after, ok := strings.CutPrefix(line, "```"); ok {
			if strings.HasPrefix(open, "#!") {
				commands = append(commands, open)
			}
			fence, open, inside = after, "", !inside
			continue
		}
		if !inside && name != "docs/audit.md" && name != "docs/page.md" { // which speak of more than a newcomer types
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				commands = append(commands, m[1])
			}
		}
		cmd := ""
		switch prompt, rest, _ := strings.Cut(line, " "); {
		case fence == "sh" || inside && fence == "" && strings.HasPrefix(line, "keyrot "):
			cmd = line
		case fence == "console" && prompt == "$":
			cmd = rest
		case !inside && strings.HasPrefix(line, "    keyrot "):
			cmd = strings.TrimSpace(line)
		}
		if cmd == "" {
			continue
		}
		if !strings.HasPrefix(open, "#!") {
			cmd = comment.ReplaceAllString(cmd, "")
		}
		if open != "" {
			cmd = open + "\n" + cmd
		}
		if open = ""; strings.HasPrefix(cmd, "#!") || strings.HasSuffix(cmd, "|") || strings.HasSuffix(cmd, `\`) {
			open = cmd
			continue
		}
		commands = append(commands, cmd)
	}
	return commands
}

// reader runs commands as somebody who follows a document does.
type reader struct {
	*testing.T
	dir  string
	env  []string
	here *strings.Replacer // what is another here than in the document
	ran  map[string]bool
}

// run runs a command of the document to its end. A server or an agent is left
// running once it has said what it says when it is ready.
func (r *reader) run(cmd string) (out string) {
	r.Helper()
	r.ran[cmd] = true
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Minute)
	defer cancel()
	text := r.here.Replace(cmd)
	if regexp.MustCompile(`(^| )keyrot (serve|agent) |cmd/keyrot serve `).MatchString(text) {
		return r.start(text)
	}
	sh := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	sh.Dir, sh.Env = r.dir, r.env
	raw, err := sh.CombinedOutput()
	if err != nil {
		r.Errorf("%s\nas %s\nfailed: %v\n%s", cmd, text, err, raw)
	}
	return string(raw)
}

// start starts what does not end, and ends it with the test.
func (r *reader) start(text string) string {
	r.Helper()
	sh := exec.Command("bash", "-c", "exec 2>&1; "+text)
	sh.Dir, sh.Env = r.dir, r.env
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // "go run" has a child
	out, err := sh.StdoutPipe()
	if err == nil {
		err = sh.Start()
	}
	if err != nil {
		r.Fatal(err)
	}
	said := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var all strings.Builder
		for s := bufio.NewScanner(out); s.Scan(); {
			all.WriteString(s.Text() + "\n")
			if regexp.MustCompile(`AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE|serving on|^  users +demo-`).MatchString(s.Text()) {
				select {
				case said <- all.String():
				default:
				}
			}
		}
		select {
		case said <- "it ended: " + all.String():
		default:
		}
	}()
	r.Cleanup(func() {
		_ = syscall.Kill(-sh.Process.Pid, syscall.SIGTERM)
		<-ended
		_ = sh.Wait() // by our signal
	})
	select {
	case text := <-said:
		if strings.HasPrefix(text, "it ended") {
			r.Fatalf("%s\n%s", sh.Args[2], text)
		}
		return text
	case <-time.After(startTimeout):
		r.Fatalf("%s is not ready", sh.Args[2])
	}
	return ""
}

// follow runs those commands of a document that match, in their order.
func (r *reader) follow(doc, match string) {
	r.Helper()
	for _, cmd := range documentedCommands(r.T, doc) {
		if _, ok := elsewhere[cmd]; !ok && regexp.MustCompile(match).MatchString(cmd) {
			r.run(cmd)
		}
	}
}

// all fails for commands of the documents that nothing has run.
func (r *reader) all(docs ...string) {
	r.Helper()
	for _, doc := range docs {
		for _, cmd := range documentedCommands(r.T, doc) {
			if _, ok := elsewhere[cmd]; !ok && !r.ran[cmd] {
				r.Errorf("%s: no test runs %q", doc, cmd)
			}
		}
	}
}

// TestDocumentedCommands runs every command of the documents that a newcomer
// follows: over the sandbox, and over an account on moto.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	s := newDeployScene(t)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	aws, err2 := installed("venv", "bin")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(s.Dir, "home")
	if err := os.MkdirAll(filepath.Join(home, ".config", "keyrot"), 0o700); err != nil {
		t.Fatal(err)
	}
	ran := map[string]bool{}
	path := "PATH=" + s.Bin + ":" + aws + ":" + os.Getenv("PATH")
	addrs := make([]string, 4)
	for i := range addrs {
		if addrs[i], err = freeport.Addr(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	caches, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output()
	cache, mods, _ := strings.Cut(strings.TrimSpace(string(caches)), "\n")
	if err != nil {
		t.Fatal(err)
	}
	base := append(os.Environ(), path, "GOCACHE="+cache, "GOMODCACHE="+mods, "HOME="+home, "XDG_CONFIG_HOME="+home+"/.config", "XDG_STATE_HOME="+home+"/state",
		"XDG_RUNTIME_DIR="+home, "XDG_CACHE_HOME="+home+"/cache", "TMPDIR="+s.Dir, "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION="+Region, "AWS_DEFAULT_REGION="+Region)

	// README.md: the sandbox, by go run as a newcomer has it.
	sandbox := &reader{T: t, dir: root, ran: ran, env: base, here: strings.NewReplacer(
		"serve --sandbox --rotate-every", "serve --listen "+addrs[0]+" --sandbox --rotate-every",
		"serve --sandbox", "serve --listen "+addrs[1]+" --sandbox",
	)}
	said := sandbox.run("go run ./cmd/keyrot serve --sandbox --rotate-every 20s --deactivate-after 24s --delete-after 30s")
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)=(.*)$`).FindAllStringSubmatch(said, -1) {
		sandbox.env = append(sandbox.env, m[1]+"="+strings.Trim(m[2], "'"))
	}
	sandbox.follow("README.md", `get-key|serve --sandbox$|keyrot plan$`)

	// docs/consumers.md, over the same server.
	work := filepath.Join(s.Dir, "work")
	err = errors.Join(os.Mkdir(work, 0o700), os.WriteFile(filepath.Join(work, "a"), []byte("a"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	consumer := &reader{T: t, dir: work, ran: ran, env: sandbox.env, here: strings.NewReplacer(
		"https://keyrot.example:8443", "http://"+addrs[0], "--user ci", "--user demo-ci", "--user mailer", "--user demo-mailer",
		"agent --users ci,mailer", "agent --listen "+addrs[2]+" --users demo-ci,demo-mailer", "s3://bucket", "s3://demo",
		"/run/app/", work+"/",
	)}
	key := consumer.env[len(consumer.env)-1]
	if err := os.WriteFile(filepath.Join(home, ".config", "keyrot", "api-key"), []byte(strings.TrimPrefix(key, "KEYROT_API_KEY=")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"STS", "S3"} {
		m := regexp.MustCompile(service + ` +(http://[0-9.:]+)`).FindStringSubmatch(said)
		if m == nil {
			t.Fatalf("the sandbox does not say where %s is:\n%s", service, said)
		}
		consumer.env = append(consumer.env, "AWS_ENDPOINT_URL_"+service+"="+m[1])
	}
	consumer.follow("docs/consumers.md", `^(keyrot (get-key --user|agent|exec)|AWS_PROFILE)`)
	for _, cmd := range documentedCommands(t, "docs/consumers.md") {
		if strings.HasPrefix(cmd, "#!") { // a publish hook
			consumer.run("echo '" + hookMessage + "' | bash -c " + quoted(cmd))
			ran[cmd] = true
		}
	}

	// README.md and docs/deploy.md, in an account.
	account := &reader{T: t, dir: work, ran: ran, env: append(append(base, s.Env...), "KEYROT_STORE_PATH="+s.Dir+"/keyrot.db"), here: strings.NewReplacer(
		"keyrot serve --path-prefix", "keyrot serve --listen "+addrs[3]+" --path-prefix",
		"keyrot deploy", "keyrot deploy --yes --function-zip "+s.zip, "--count N", "--count 100", "--to FOLDER", "--to "+work,
	)}
	account.follow("docs/deploy.md", `^keyrot (deploy|plan|status|audit)`)
	account.follow("README.md", `keyrot (doctor|rotate-once|serve --path|api-key)`)
	account.follow("docs/audit.md", `keyrot audit`)
	account.follow("docs/page.md", `keyrot api-key`)
	account.all("README.md", "docs/consumers.md", "docs/deploy.md", "docs/audit.md", "docs/page.md")
}

// hookMessage is what a publish hook gets.
const hookMessage = `{"id":"x","user":"mailer","access_key_id":"AKIAEXAMPLE","secret_access_key":"secret",` +
	`"created":"2026-03-01T12:00:00Z","expiration":"2026-03-01T12:12:00Z"}`

// quoted makes one word of s for a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
