package lambda

import (
	"encoding/json"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// Result is what a pass answers.
type Result struct {
	Users   []UserResult `json:"users,omitempty"`
	Skipped string       `json:"skipped,omitempty"` // why there was no pass
	Stopped bool         `json:"stopped,omitempty"` // by the deadline; the next pass goes on
	Why     string       `json:"why,omitempty"`     // it was stopped, in words
}

// UserResult is what a pass did for one user.
type UserResult struct {
	User  string       `json:"user"`
	Steps []StepResult `json:"steps,omitempty"`
	Wait  string       `json:"wait,omitempty"` // why it ended
	Next  time.Time    `json:"next,omitzero"`  // when to look again
	Error string       `json:"error,omitempty"`
}

// StepResult is one step that was carried out, or attempted.
type StepResult struct {
	Action string    `json:"action"`
	Key    string    `json:"key,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Due    time.Time `json:"due,omitzero"`
	Error  string    `json:"error,omitempty"`
}

func result(rep rotate.Report) Result {
	var res Result
	for _, u := range rep.Users {
		if u.User == "" {
			continue // the pass ended before this one's turn
		}
		v := UserResult{User: u.User, Wait: string(u.Wait.Reason), Next: u.Wait.Wake, Error: text(u.Err)}
		for _, d := range u.Steps {
			v.Steps = append(v.Steps, StepResult{
				Action: string(d.Step.Action), Key: d.Step.KeyID, Reason: string(d.Step.Reason),
				Due: d.Step.Due, Error: text(d.Err),
			})
		}
		res.Users = append(res.Users, v)
	}
	return res
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Namespace is where CloudWatch shows the metrics, and the metrics' names.
const (
	Namespace     = "keyrot"
	Dimension     = "FunctionName"
	MetricPasses  = "Passes"  // passes that looked at every user: the dead man's switch
	MetricErrors  = "Errors"  // passes that could not begin
	MetricFailed  = "Failed"  // users whose pass ended in an error
	MetricOverdue = "Overdue" // users whose key is later than it should be
)

type metrics struct{ Passes, Errors, Failed, Overdue int }

// emit writes the metrics in CloudWatch's embedded metric format: from the log
// they become metrics without a call.
func (f *Function) emit(m metrics) {
	if f.Metrics == nil {
		return
	}
	type metric struct{ Name, Unit string }
	var defined []metric
	for _, name := range []string{MetricPasses, MetricErrors, MetricFailed, MetricOverdue} {
		defined = append(defined, metric{name, "Count"})
	}
	line, err := json.Marshal(map[string]any{
		"_aws": map[string]any{
			"Timestamp": f.now().UnixMilli(),
			"CloudWatchMetrics": []any{map[string]any{
				"Namespace": Namespace, "Dimensions": [][]string{{Dimension}}, "Metrics": defined,
			}},
		},
		Dimension:    f.Name,
		MetricPasses: m.Passes, MetricErrors: m.Errors, MetricFailed: m.Failed, MetricOverdue: m.Overdue,
	})
	if err == nil {
		_, err = f.Metrics.Write(append(line, '\n'))
	}
	if err != nil {
		f.log().Warn("writing metrics", "err", err)
	}
}
