"""The embedded model server, for development and tests: TensorFlow Serving's flags and answers.

The way of a request:

    grpc/ or rest/    receives it, and sends the answer or the refusal
    core              finds the version that is meant (name, number, label) and keeps it loaded
    apis/             checks the request as TensorFlow Serving does: Predict, Classify, Regress, …
    batching/         merges requests of different callers, where that is switched on
    loading/          the SavedModel (or TensorFlow Lite model) that computes

How versions come and go: `config_watcher` reads models.config and hands it to `core`;
`versions/source` looks into the models' folders; `versions/manager` loads and unloads, one version
before the other goes; `loading/loader` loads one and warms it up.

`main` reads the command line (`flags`), `server` puts all of this together. Everything raises the
one error of `errors` and is counted in `metrics`. Nothing below the transports knows of them.
"""
