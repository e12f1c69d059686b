// What errors mean, for people.
#ifndef KERN_ERRORS_TEXT_H
#define KERN_ERRORS_TEXT_H

// What an error of kern_errors.h means.
const char *kern_error_phrase(int error);

#endif
