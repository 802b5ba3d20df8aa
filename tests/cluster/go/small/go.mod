module small.test

go 1.25.0
