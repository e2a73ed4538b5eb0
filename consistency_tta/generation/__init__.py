"""A folder of sounds for a caption file: made by any number of processes, in as many goes as it takes.

    <folder>/<clip>.wav       the sound of a clip, where there is one for each; otherwise the k-th of each clip is
    <folder>/<k>/<clip>.wav   for k = 0, 1, ...: each such folder is a set by itself, whose files bear the clips' names
    <folder>/captions.csv     (or <folder>/<k>/captions.csv) the caption of each file beside it
    <folder>/generation.json  the settings, and checksums of the weights and captions

A file that is there is whole, and is kept. The noise of a sound depends on the seed, its clip's name, and the numbers
of its caption and sample. A sound's rounding depends on its neighbours in the batch. So batches are the same whatever
has been made and however many processes there are, and one of which a file is missing is computed as a whole: on a CPU
the files are the same to the last bit, if the processes have equally many threads.
"""
